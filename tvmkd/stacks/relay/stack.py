"""The Relay stack: ONNX to Relay to AutoScheduler's kernels to one shared library. In a worker.

It runs in the interpreter of a TVM from 0.14 to 0.19 (see :mod:`tvmkd.runtime.interpreters`).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import tvm

from tvmkd.stacks import build
from tvmkd.stacks.base import Emit
from tvmkd.stacks.messages import BuildRequest, LowerRequest, ProfileRequest, TuneRequest
from tvmkd.stacks.relay import build as relay_build
from tvmkd.stacks.relay import importer as relay_import
from tvmkd.stacks.relay import tasks as relay_tasks
from tvmkd.stacks.relay.accumulate import sums_in_float32
from tvmkd.stacks.relay.fusion_limit import limit_fusion
from tvmkd.stacks.relay.kernel_features import features
from tvmkd.stacks.relay.nan import keep_nan
from tvmkd.tuning.space import Task

Request = LowerRequest | TuneRequest | BuildRequest


class RelayStack:
    """Implements :class:`tvmkd.stacks.base.Stack`."""

    def available(self) -> dict[str, Any]:
        """TVM's version and its LLVM's."""
        llvm = tvm.get_global_func("target.llvm_version_major", allow_missing=True)
        return {
            "version": tvm.__version__,
            "llvm": int(llvm()) if llvm is not None else None,
            "reason": None if llvm is not None else "this TVM was built without LLVM",
        }

    def _tasks(self, request: Request) -> tuple[relay_import.Model, tvm.IRModule, list[Task]]:
        relay_tasks.tvm_target(request.target)  # says before the long work what it cannot do
        model = relay_import.read(request.onnx, request.dims, request.model)
        model.mod = limit_fusion(sums_in_float32(keep_nan(model.mod)))
        lowered = relay_import.channels_last(model.mod)
        return model, lowered, relay_tasks.tasks_of(lowered, request.target)

    def lower(self, request: LowerRequest, emit: Emit) -> dict[str, Any]:
        """The tasks of a model, its inputs and its outputs; or what TensorRT takes of it."""
        if request.byoc == "tensorrt":
            from tvmkd.stacks.relay import tensorrt as relay_tensorrt

            model = relay_import.read(request.onnx, request.dims, request.model)
            version = relay_tensorrt.version_of(request.target)
            return {
                "tasks": [],
                "inputs": model.inputs,
                "outputs": model.outputs,
                "notes": [],
                "module": relay_tensorrt.partition(model.mod, version).astext(show_meta_data=False)
                if request.show
                else None,
                "byoc": {
                    "available": relay_tensorrt.available(),
                    **relay_tensorrt.coverage(model.mod, version),
                },
            }
        model, lowered, tasks = self._tasks(request)
        summaries = [task.summary() for task in tasks]
        if request.features:
            for task, summary in zip(tasks, summaries, strict=True):
                summary["features"] = features(task)
        return {
            "tasks": summaries,
            "inputs": model.inputs,
            "outputs": model.outputs,
            "notes": [],
            "module": lowered.astext(show_meta_data=False) if request.show else None,
        }

    def tune(self, request: TuneRequest, emit: Emit) -> dict[str, Any]:
        """Tunes the models' tasks into a records folder."""
        from tvmkd.tuning.space import union
        from tvmkd.tuning.tune import tune_into

        model, _, tasks = self._tasks(request)
        others = (self._tasks(replace(request, onnx=o.path, model=o))[2] for o in request.others)
        tasks = union([tasks, *others], request.weights)
        return tune_into(
            request.records,
            tasks,
            request.target,
            request.tracker,
            trials=request.trials,
            seed=request.seed,
            emit=emit,
            stack="relay",
            stack_version=tvm.__version__,
            onnx_sha256=model.sha256,
            options=request.options,
        )

    def build(self, request: BuildRequest, emit: Emit) -> dict[str, Any]:
        """Builds an artifact that agrees with ONNX Runtime."""
        emit("stage", {"text": "lowering"})
        target = request.target
        if request.byoc:
            from tvmkd.stacks.relay import tensorrt as relay_tensorrt

            relay_tensorrt.check_available()
            # What TensorRT does not take runs on the CPU beside the GPU.
            rest = {**target, "tvm": target.get("host") or target["tvm"]}
            version: tuple[int, int, int] | None = relay_tensorrt.version_of(target)
            model = relay_import.read(request.onnx, request.dims, request.model)
            lowered, tasks = model.mod, list[Task]()
        else:
            rest, version = target, None
            model, lowered, tasks = self._tasks(request)
        goal = relay_tasks.tvm_target(rest)
        builder = relay_build.RelayBuilder(
            model, lowered, tasks, goal, target["toolchain"], tensorrt=version
        )

        def again(path: Path) -> tuple[relay_import.Model, relay_build.RelayBuilder]:
            part, low, found = self._tasks(replace(request, onnx=path, dims={}, model=None))
            return part, relay_build.RelayBuilder(part, low, found, goal, target["toolchain"])

        return build.build_as_asked(builder, model, request, emit, None if request.byoc else again)

    def profile(self, request: ProfileRequest, emit: Emit) -> list[dict[str, Any]]:
        """Times an artifact's kernels one by one."""
        from tvmkd.stacks.relay import profile as relay_profile

        return relay_profile.profile(request.artifact, request.inputs, request.repeats)


# Every thread of the target is one of the worker's too: TVM takes half of what it finds.
os.environ.setdefault("TVM_NUM_THREADS", str(os.cpu_count() or 1))
