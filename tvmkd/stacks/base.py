"""The protocol that every compiler stack implements, inside its worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tvmkd.stacks.messages import BuildRequest, LowerRequest, ProfileRequest, TuneRequest

Emit = Callable[[str, dict[str, Any]], None]


class Stack(Protocol):
    """One compiler. Each method returns a JSON result.

    The methods run in a worker process, where the compiler may be imported. ``emit`` sends a named
    event to the parent during the call. `tvmkd.stacks.client.StackClient` documents the requests
    and the results.
    """

    def available(self) -> dict[str, Any]:
        """The version of the compiler, or the reason why it cannot be used."""

    def lower(self, request: LowerRequest, emit: Emit) -> dict[str, Any]:
        """The tuning tasks of an ONNX file, and its inputs and outputs."""

    def tune(self, request: TuneRequest, emit: Emit) -> dict[str, Any]:
        """Tunes the tasks of an ONNX file into a records folder."""

    def build(self, request: BuildRequest, emit: Emit) -> dict[str, Any]:
        """Builds an artifact from an ONNX file and records."""

    def profile(self, request: ProfileRequest, emit: Emit) -> list[dict[str, Any]]:
        """Times an artifact kernel by kernel."""


METHODS = ("available", "lower", "tune", "build", "profile")
