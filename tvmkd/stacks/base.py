"""The protocol that every compiler stack implements, inside its worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Emit = Callable[[str, dict[str, Any]], None]
Params = dict[str, Any]


class Stack(Protocol):
    """One compiler. Each method takes JSON parameters and returns a JSON result.

    The methods run in a worker process, where the compiler may be imported; ``emit`` sends a
    named event to the parent while the call goes on. What the parameters and results hold is
    said by the methods of :class:`tvmkd.stacks.client.StackClient`, which mirror these.
    """

    def available(self, params: Params, emit: Emit) -> dict[str, Any]:
        """The version of the compiler, or the reason why it cannot be used."""

    def lower(self, params: Params, emit: Emit) -> dict[str, Any]:
        """The tuning tasks of an ONNX file, and its inputs and outputs."""

    def tune(self, params: Params, emit: Emit) -> dict[str, Any]:
        """Tunes the tasks of an ONNX file into a records folder."""

    def build(self, params: Params, emit: Emit) -> dict[str, Any]:
        """Builds an artifact from an ONNX file and records."""

    def profile(self, params: Params, emit: Emit) -> list[dict[str, Any]]:
        """Times an artifact kernel by kernel."""


METHODS = ("available", "lower", "tune", "build", "profile")
