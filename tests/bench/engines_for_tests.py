"""Engines that misbehave on purpose, for `tvmkd.bench` to cope with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tvmkd.bench.engines.base import Engine, Inputs


class Matmul(Engine):
    """What `toys.onnx_file` computes, in numpy.

    Options: "sleep_ms", "off", "crash_on_call"; a list of them has one for each build.
    """

    calls = 0

    def prepare(self, example: Inputs) -> None:
        self.weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        (array,) = inputs.values()
        sleep_s = self._option("sleep_ms") / 1e3
        off = self._option("off")
        last = self._option("crash_on_call")

        def call() -> Any:
            self.calls += 1
            if self.calls == last:
                os.abort()
            time.sleep(sleep_s)
            return np.maximum(array @ self.weights, 0) + np.float32(off)

        return call

    def _option(self, name: str) -> Any:
        value = self.spec.options.get(name, 0)
        return value[self.spec.options["build"] - 1] if isinstance(value, list) else value

    def facts(self) -> dict[str, Any]:
        return {
            "version": "0",
            "engine_build_seconds": float(self.spec.options.get("build", 0)),
            "cpus": sorted(os.sched_getaffinity(0)),
            "threads": {key: os.environ[key] for key in ("OMP_NUM_THREADS", "TVM_NUM_THREADS")},
        }
