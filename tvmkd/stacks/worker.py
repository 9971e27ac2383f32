"""The process of a compiler stack: ``python -m tvmkd.stacks.worker NAME``.

It answers the methods of :class:`tvmkd.stacks.base.Stack` over stdin and stdout. SIGINT and SIGTERM
end the current call cleanly (the answer is *Interrupted*). If the parent ends, this process ends
too.
"""

from __future__ import annotations

import functools
import signal
import sys
from types import FrameType
from typing import Any

from tvmkd.base import stack_registry, wire
from tvmkd.base.errors import MissingError
from tvmkd.base.prctl import die_with_parent
from tvmkd.stacks.base import METHODS, Emit, Stack
from tvmkd.tuning import tuner_backend
from tvmkd.tuning.builder import prestart


@functools.lru_cache(maxsize=1)
def _stack(name: str) -> Stack:
    """The stack called ``name``. Imported again by a call if that failed: the call reports it."""
    entry = stack_registry.get(name)
    try:
        tuner_backend.of(name).import_compiler()
        stack: Stack = stack_registry.load(entry.worker)()
    except (ImportError, OSError) as error:
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise MissingError(
            f"{sys.executable} cannot run the {name} stack ({last}); tvmkd stack list says more"
        ) from None
    return stack


def handlers(name: str) -> dict[str, wire.Handler]:
    """The handlers of the worker for :func:`tvmkd.base.wire.serve`."""

    def handler(method: str) -> wire.Handler:
        def call(params: dict[str, Any], emit: Emit) -> Any:
            if method == "tune":
                prestart(name)  # imports the compiler in the forkserver during lowering
            stack = _stack(name)  # says what an interpreter without the stack lacks
            # Imports onnx, which is slow: signal handlers must be installed first.
            from tvmkd.stacks.messages import REQUESTS, unpack

            if method not in REQUESTS:
                return getattr(stack, method)()
            return getattr(stack, method)(unpack(REQUESTS[method], params), emit)

        return call

    return {method: handler(method) for method in METHODS}


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Serves until stdin closes."""
    die_with_parent()
    # SIGINT too: shells start background jobs with SIGINT ignored, and the parent uses it to
    # interrupt.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        wire.serve(handlers(sys.argv[1]), functools.partial(_stack, sys.argv[1]))
    except KeyboardInterrupt:  # between two calls: there is nothing to answer
        sys.exit(130)


if __name__ == "__main__":
    main()
