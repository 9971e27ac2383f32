"""The process that holds a session to one board: ``python -m tvmkd.tuning.measure_worker``.

It answers ``connect``, ``facts``, ``telemetry``, ``measure`` and ``drop`` over
:mod:`tvmkd.base.wire`. It is a separate process, because a TVM RPC call cannot be
interrupted: when a kernel hangs, the runner ends this process.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from tvmkd.base import wire
from tvmkd.base.errors import MissingError
from tvmkd.base.prctl import die_with_parent
from tvmkd.boards import board_clock
from tvmkd.boards.connect import refused, request
from tvmkd.runtime.tvm_process import import_runtime, new_tensor
from tvmkd.tuning import canary
from tvmkd.tuning.measurement import WRONG

FILL = "tvm.contrib.random.random_fill_for_measure"
SLICE_SECONDS = 0.005  # a repeat runs the kernel as many times as this takes
BUDGET_SECONDS = 0.06  # for all repeats of a good candidate together
FIRST_REPEATS = 3
MOST_REPEATS = 12
CLEARLY_SLOWER = 1.25  # a candidate this much slower gets the first repeats only
WIDE_SPREAD = 0.25  # (Q3 - Q1) / median; a wider series is measured again
SERIES = 3  # at most so many series; the one with the least spread counts
CANARY_RUNS = 100
LACKS = "tvmkd.board.gpu_lacks"
LEAST_GPU_BYTES = 64 << 20
"""What a GPU must be able to give before kernels are measured on it."""
COUNT = "tvmkd.board.count_instructions"
SECONDS_PER_INSTRUCTION = 1e-9  # one instruction is reported as one nanosecond


def spread(seconds: list[float]) -> float:
    """The distance between the quartiles over the median; 0 for fewer than three values."""
    if len(seconds) < 3:
        return 0.0
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return (high - low) / middle


class Measurer:
    """One board's session, its argument buffers, and the measuring itself."""

    def __init__(self) -> None:
        self._tvm: Any = None
        self._session: Any = None
        self._opened = 0.0
        self._params: dict[str, Any] = {}
        self._args: tuple[str, list[Any]] | None = None
        self._count = 0
        self._telemetry: Callable[[], str] | None = None
        self._canary: Callable[[], float] | None = None

    def connect(self, params: dict[str, Any], emit: wire.Event) -> dict[str, Any]:
        """Opens a session: ``{"host", "port", "key", "timeout", "session_seconds"}``.

        Emits ``named`` with the board's address as soon as the tracker has named one.
        """
        if self._tvm is None:
            self._tvm = import_runtime()
        self._params = params
        self._drop()
        address = request(params["host"], params["port"], params["key"], params["timeout"])
        host, port, match = address
        emit("named", {"board": f"{host}:{port}"})
        try:
            self._session = self._tvm.rpc.connect(
                host, port, match, session_timeout=params["session_seconds"]
            )
        except Exception as error:
            why = refused(error)
            raise MissingError(f"the board at {host}:{port} does not answer ({why})") from None
        self._opened = time.monotonic()
        return {"board": f"{host}:{port}"}

    def _drop(self) -> None:
        self._args = None
        self._telemetry = None
        self._canary = None
        self._session = None

    def drop(self, _params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        """Gives the board back."""
        self._drop()
        return {}

    def facts(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        """The board's facts: TVM's thread count, and more if `tvmkd board serve` runs there.

        Args (in ``params``): ``device`` that kernels are for.

        Raises:
            MissingError: the board's runtime lacks what measuring needs, or its GPU has no memory
                left: no candidate is to blame for that.
        """
        try:
            self._session.get_function(FILL)
        except Exception:
            raise MissingError(
                f"the board's TVM has no {FILL!r}: load libtvm_runtime_extra.so in its server "
                f"(--load-library), or use: tvmkd board serve"
            ) from None
        reason = self._gpu_lacks() if params.get("device") == "cuda" else ""
        if reason:
            raise MissingError(
                f"its GPU has not {LEAST_GPU_BYTES >> 20} MiB for kernels ({reason}): end what "
                "else uses it (nvidia-smi or tegrastats show it)"
            )
        found: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # upstream's server has no such function
            found = json.loads(self._session.get_function("tvmkd.board.facts")())
        with contextlib.suppress(Exception):
            found["threads"] = int(self._session.get_function("runtime.NumThreads")())
        with contextlib.suppress(Exception):
            self._telemetry = self._session.get_function("tvmkd.board.telemetry")
        return found

    def _gpu_lacks(self) -> str:
        """Why the GPU cannot give kernels memory; empty if it can.

        Raises nothing: an error's traceback would keep the session open.
        """
        try:
            lacks = self._session.get_function(LACKS)
        except Exception:  # upstream's server has no such function
            return ""
        try:
            return str(lacks(LEAST_GPU_BYTES))
        except Exception as error:
            return str(error).strip()[-200:]

    def telemetry(self, _params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        """Temperature and clocks now; empty if the server cannot read them.

        Raises:
            MissingError: the session is lost.
        """
        if self._session is None:
            raise MissingError("no open session")
        if self._telemetry is None:
            return {}
        try:
            found: dict[str, Any] = json.loads(self._telemetry())
        except Exception as error:
            self._drop()
            raise MissingError(f"the session is lost ({str(error).strip()[-200:]})") from None
        return found

    def measure(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        """Times one library.

        Args (in ``params``): ``path``; ``args``, a list of ``[dtype, shape]``; ``device``;
        ``best``, the best seconds so far or None; ``reject``, the factor over ``best`` at which
        one run is enough; ``limit``, the longest that one measurement may take; ``evaluator``,
        ``"time"`` (the default) or ``"icount"``, the instructions of one run; ``plain``, a library
        to compare outputs with instead (see :mod:`tvmkd.tuning.verify`); ``canary``, None or the
        ``path`` and ``args`` of a :mod:`tvmkd.tuning.canary` to time beside it, its ``usual``
        seconds (None: unknown) and the seconds of ``patience``.

        Returns:
            ``{"seconds": [...], "facts": {...}}``, one mean per repeat, with ``spread``,
            ``remeasured``, the seconds of the canary and what the board says of its heat after it,
            and ``watched``, how long the measurement took if there was a canary; or
            ``{"error_kind", "error"}`` with ``run_error`` (the candidate's own), ``wrong_output``,
            ``session_lost``, or ``session_due`` (nothing was run: open the session anew first).
        """
        age = time.monotonic() - self._opened
        if self._session is not None and age + params["limit"] > self._params["session_seconds"]:
            self._drop()  # the server would close the session during the measurement
        if self._session is None:
            return {"error_kind": "session_due", "error": "no open session"}
        try:
            return self._prove(params) if params.get("plain") else self._time(params)
        except Exception as error:
            message = str(error).strip()[-1000:]
        try:
            self._session.get_function("runtime.NumThreads")()
        except Exception:
            self._drop()
            return {"error_kind": "session_lost", "error": message}
        return {"error_kind": "run_error", "error": message}

    def _buffers(self, device: Any, args: list[list[Any]]) -> list[Any]:
        """Random inputs on the board, kept between the candidates of one task."""
        signature = json.dumps(args)
        if self._args is None or self._args[0] != signature:
            self._args = None  # frees the old buffers first
            fill = self._session.get_function(FILL)
            buffers = []
            for dtype, shape in args:
                buffer = new_tensor(self._tvm, (tuple(shape), dtype), device)
                fill(buffer)
                buffers.append(buffer)
            self._args = (signature, buffers)
        return self._args[1]

    @contextlib.contextmanager
    def _loaded(self, path: str) -> Iterator[Any]:
        """A library's module on the board."""
        self._count += 1
        name = f"k{self._count}.so"
        self._session.upload(path, target=name)
        try:
            yield self._session.load_module(name)
        finally:
            with contextlib.suppress(Exception):
                self._session.remove(name)

    def _prove(self, params: dict[str, Any]) -> dict[str, Any]:
        from tvmkd.tuning import verify as proof

        device = self._session.device(params["device"], 0)
        with self._loaded(params["path"]) as kernel, self._loaded(params["plain"]) as plain:
            fault = proof.fault(self._tvm, device, kernel, plain, params["args"])
        if fault is not None:
            return {"error_kind": WRONG, "error": fault}
        return {"seconds": None, "facts": {}}

    def _time(self, params: dict[str, Any]) -> dict[str, Any]:
        session = self._session
        with self._loaded(params["path"]) as module:
            device = session.device(params["device"], 0)
            buffers = self._buffers(device, params["args"])
            if params.get("evaluator") == "icount":
                count = int(session.get_function(COUNT)(module, "main", *buffers))
                return {"seconds": [count * SECONDS_PER_INSTRUCTION], "facts": {}}
            best = params["best"]
            watched = params.get("canary")

            def repeats(budget: float = BUDGET_SECONDS) -> list[float]:
                return self._repeats(module, device, buffers, best, params["reject"], budget)

            series, own, whole = 1, {}, None
            if watched is None:
                deadline = time.monotonic() + params["limit"] / 4
                seconds, series = self._series(repeats, best, deadline)
            else:
                began = time.monotonic()
                seconds, took = canary.undisturbed(
                    lambda: repeats(BUDGET_SECONDS / canary.WINDOWS),
                    self._watching(watched, device),
                    watched["usual"],
                    time.monotonic,
                    watched["patience"],
                    lambda found: best is not None and min(found) > CLEARLY_SLOWER * best,
                )
                own, whole = {canary.FACT: took}, time.monotonic() - began
            facts = {"spread": round(spread(seconds), 4), "remeasured": series - 1, **own}
            if self._telemetry is not None:
                now = json.loads(self._telemetry())
                facts.update(celsius=now.get("celsius"), throttled=now.get("throttled"))
            return {"seconds": seconds, "facts": facts, "watched": whole}

    def _watching(self, params: dict[str, Any], device: Any) -> Callable[[], float]:
        """What runs the canary, which stays loaded as long as the session."""
        if self._canary is None:
            self._session.upload(params["path"], target="canary.so")
            module = self._session.load_module("canary.so")
            fill = self._session.get_function(FILL)
            buffers = [
                new_tensor(self._tvm, (tuple(shape), dtype), device)
                for dtype, shape in params["args"]
            ]
            for buffer in buffers:
                fill(buffer)
            module.time_evaluator("main", device, number=1, repeat=1)(*buffers)
            timer = module.time_evaluator("main", device, number=CANARY_RUNS, repeat=3)
            self._canary = lambda: min(board_clock.seconds(lambda: timer(*buffers), CANARY_RUNS))
        return self._canary

    @staticmethod
    def _series(
        repeats: Callable[[], list[float]], best: float | None, deadline: float
    ) -> tuple[list[float], int]:
        """The series with the least spread, of at most `SERIES`, and how many were measured.

        A candidate that is clearly slower than the best gets one series, whatever its spread.
        """
        found: list[list[float]] = []
        while len(found) < SERIES:
            found.append(repeats())
            slow = best is not None and min(found[-1]) > CLEARLY_SLOWER * best
            if slow or spread(found[-1]) <= WIDE_SPREAD or time.monotonic() > deadline:
                break
        return min(found, key=spread), len(found)

    @staticmethod
    def _repeats(
        module: Any,
        device: Any,
        buffers: list[Any],
        best: float | None,
        reject: float,
        budget: float = BUDGET_SECONDS,
    ) -> list[float]:
        def run(number: int, repeat: int) -> list[float]:
            timer = module.time_evaluator("main", device, number=number, repeat=repeat)
            return board_clock.seconds(lambda: timer(*buffers), number)

        first = run(1, 1)
        if best is not None and first[0] > reject * best:
            return first
        once = max(first[0], 1e-8)
        number = max(1, math.ceil(SLICE_SECONDS / once))
        repeats = int(min(MOST_REPEATS, max(FIRST_REPEATS, budget / (number * once))))
        seconds = run(number, FIRST_REPEATS)
        if best is not None and min(seconds) > CLEARLY_SLOWER * best:
            return seconds
        if repeats > FIRST_REPEATS:
            seconds += run(number, repeats - FIRST_REPEATS)
        return seconds


def main() -> None:
    """Serves until stdin closes."""
    die_with_parent()
    measurer = Measurer()
    methods = ("connect", "facts", "telemetry", "measure", "drop")
    wire.serve({name: getattr(measurer, name) for name in methods})
    os._exit(0)  # a session's destructor may wait for a board that no longer answers


if __name__ == "__main__":
    main()
