"""One call of a model: the request as the pool takes it, and its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(eq=False)
class Request:
    """One request for inference.

    Attributes:
        inputs: the bytes of each input, in the model's order.
        shapes: of the inputs.
        arrived_ns: when its head was read (CLOCK_MONOTONIC).
        deadline_ns: when its answer is worthless; 0: never.
        future: gets the `Result`, or a `RequestFault`.
        gone: tells whether nobody waits for the result any more; None: unknown.
    """

    inputs: Sequence[bytes | memoryview]
    shapes: Sequence[Sequence[int]]
    arrived_ns: int
    deadline_ns: int
    future: asyncio.Future[Result]
    gone: Callable[[], bool] | None = None
    queued_ns: int = 0
    copied_ns: int = 0
    expiry: asyncio.TimerHandle | None = None


@dataclass(frozen=True)
class Result:
    """The outputs: bytes and shapes, in the model's order."""

    outputs: list[bytes]
    shapes: Sequence[Sequence[int]]
