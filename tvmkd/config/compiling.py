"""The sections of a ``tvmkd.toml`` about the target, tuning, comparing and the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from tvmkd.base import engine_registry, stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.config.fields import Count, Positive, Section, Seed


def _stack(name: str) -> str:
    try:
        return stack_registry.get(name).name
    except UsageError as error:
        raise ValueError(str(error)) from None


StackName = Annotated[
    str, AfterValidator(_stack), Field(json_schema_extra={"enum": list(stack_registry.names())})
]


def _engine(name: str) -> str:
    try:
        engine_registry.check(name)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return name


EngineName = Annotated[str, AfterValidator(_engine)]

DEFAULT_TRACKER_PORT = 9190


class TargetRef(Section):
    """``[target]``: what to compile for."""

    name: str = "host"
    """A name that ``tvmkd targets`` lists, or the path of a target file."""


class Tune(Section):
    """``[tune]``: the compiler, and trials over TVM RPC."""

    stack: StackName = stack_registry.DEFAULT
    """The compiler stack that tunes and builds."""
    trials: Count = 256
    """Kernels to measure in all."""
    tracker: str = "local"
    """``HOST[:PORT]`` of a TVM tracker. ``local``: a tracker and a server on this machine."""
    key: str = "local"
    """The boards' key at the tracker."""
    seed: Seed = 0
    """Seed of the search."""
    boards: Count | None = None
    """Measure on at most this many boards at once. Without it: all under the key, and one with
    ``local``."""
    records: list[Path] = Field(default_factory=list)
    """More folders of tuning records, such as that of a latency table: the artifact has the fastest
    kernels of these and of the run's own. No trials are made for them."""

    @field_validator("tracker")
    @classmethod
    def _tracker(cls, text: str) -> str:
        if text != "local":
            parse_tracker(text)
        return text


class Compare(Section):
    """``[compare]``: which engines are measured, and for how long."""

    engines: Annotated[list[EngineName], Field(min_length=1)] = Field(
        default_factory=lambda: list(engine_registry.RUN)
    )
    """The engines: names that ``tvmkd compare --engine`` accepts, or ``package.module:Class``."""
    threads: Count | None = None
    """Threads of every engine. Without it: the physical cores."""
    seconds: Positive = 3.0
    """Measuring time of each engine, in seconds, without warm-up."""
    rounds: Count = 8
    """Rounds in which the engines take turns."""
    processes: Count | None = None
    """Starts of each engine, which share the rounds. Without it: 3 to 10, as many as take as long
    to start as all measuring."""


class Gate(Section):
    """``[gate]``: what the comparison must satisfy."""

    require: list[str] = Field(default_factory=list)
    """Expressions such as ``tvm.p99 < 20ms``. All must hold."""


def parse_tracker(text: str) -> tuple[str, int]:
    """Splits ``HOST[:PORT]`` (port 9190 where none is given; IPv6 hosts in brackets).

    Raises:
        ValueError: no host, or the port is not a number from 1 to 65535.
    """
    text = text.strip()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else rest
    else:
        host, _, port = (part.strip() for part in text.partition(":"))
    number = port or str(DEFAULT_TRACKER_PORT)
    if not host or not number.isdigit() or not 0 < int(number) < 65536:
        raise ValueError(f'"{text}" is not a tracker address: give HOST or HOST:PORT')
    return host, int(number)
