"""Engines that misbehave on purpose, for `tvmkd.bench` to cope with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tvmkd.bench.engines.base import Engine, Inputs


class Matmul(Engine):
    """What `toys.onnx_file` computes, in numpy. Options: "sleep_ms", "off", "crash_on_call"."""

    calls = 0

    def prepare(self, example: Inputs) -> None:
        self.weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        (array,) = inputs.values()
        sleep_s = self.spec.options.get("sleep_ms", 0) / 1e3
        off = self.spec.options.get("off", 0.0)
        last = self.spec.options.get("crash_on_call", 0)

        def call() -> Any:
            self.calls += 1
            if self.calls == last:
                os.abort()
            time.sleep(sleep_s)
            return np.maximum(array @ self.weights, 0) + np.float32(off)

        return call

    def facts(self) -> dict[str, Any]:
        return {
            "version": "0",
            "cpus": sorted(os.sched_getaffinity(0)),
            "threads": {key: os.environ[key] for key in ("OMP_NUM_THREADS", "TVM_NUM_THREADS")},
        }
