"""A compiled artifact: a folder written by ``tvmkd build``, tuned or untuned, of any stack."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd import artifact
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.runtimes import STANDALONE
from tvmkd.bench.engines.base import Device, Engine, Inputs
from tvmkd.bench.spec import EngineSpec

if TYPE_CHECKING:
    from tvmkd.base.manifest import Manifest


GPU_REGIONS = ("tensorrt", "tensorrt-rtx")
"""Engines that run regions of an artifact on a GPU."""


class TvmEngine(Engine):
    """`tvmkd.load(folder)`, called as a user calls it. Threads come from ``TVM_NUM_THREADS``."""

    file = "artifact"
    board_engine = "tvm@board"

    @classmethod
    def device_of(cls, spec: EngineSpec) -> Device | None:
        """The device of the artifact's target, or of the engine of its regions."""
        return device_of(spec)

    @classmethod
    def captures(cls, spec: EngineSpec) -> bool:
        """A standalone library for a GPU does, and regions of TensorRT, each a graph of its own."""
        manifest = _manifest(spec.path)
        return manifest is not None and (_opens_a_gpu(manifest) or _regions_on_gpu(manifest))

    def prepare(self, example: Inputs) -> None:
        """Loads the artifact, which verifies the hashes of its files and the machine."""
        del example
        graph = self.spec.options.get("cuda_graph")
        # `managed` is a way without a graph, too, which a user asks for.
        if graph or (graph is not None and os.environ.get("TVMKD_CUDA") != "managed"):
            os.environ["TVMKD_CUDA"] = "graph" if graph else "launches"
        self.artifact = artifact.load(self.path())

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """``artifact(*arrays)``."""
        return functools.partial(self.artifact, *inputs.values())

    def facts(self) -> dict[str, Any]:
        """Stack, version, target and tuning coverage."""
        manifest = self.artifact.manifest
        return {
            "version": manifest.stack_version,
            "stack": manifest.stack,
            "target": manifest.target.get("name"),
            "coverage": manifest.coverage,
            "onnx_sha256": manifest.onnx_sha256,
            "gpu_memory_bytes": self.artifact.gpu_bytes() if _opens_a_gpu(manifest) else None,
            **spent(manifest),
        }


class StandaloneEngine(TvmEngine):
    """A standalone library (``tvmkd build --runtime standalone``), called through `tvmkd.load`."""

    board_engine = "tvm:standalone@board"

    def prepare(self, example: Inputs) -> None:
        """As for any artifact.

        Raises:
            InputError: the artifact needs TVM's runtime.
        """
        super().prepare(example)
        require_standalone(self.artifact.manifest, Path(self.path()))

    def facts(self) -> dict[str, Any]:
        """Those of any artifact, and that it needs no TVM."""
        return {**super().facts(), "runtime": STANDALONE}

    def size_bytes(self) -> int | None:
        """Size of the shared library: the archive in the folder is the same for other uses."""
        return (Path(self.path()) / self.artifact.manifest.library).stat().st_size


def require_standalone(manifest: Manifest, folder: Path) -> None:
    """Raises `InputError` if an artifact needs TVM's runtime."""
    if manifest.runtime != STANDALONE:
        raise InputError(
            f"{folder}: needs TVM's runtime; build it with --runtime standalone for the engine "
            "tvm:standalone"
        )


def device_of(spec: EngineSpec) -> Device | None:
    """The device of an artifact; None if it cannot be read (its engine then reports the reason)."""
    manifest = _manifest(spec.path)
    if manifest is None:
        return None
    on_gpu = _regions_on_gpu(manifest) or manifest.target.get("device") == "cuda"
    return "GPU" if on_gpu else "CPU"


def _regions_on_gpu(manifest: Manifest) -> bool:
    offloaded = manifest.coverage.get("byoc") or {}
    return bool(offloaded.get("regions")) and offloaded.get("engine") in GPU_REGIONS


def precision_of(folder: Path) -> str:
    """What an artifact computes in: that of its regions on a GPU, otherwise ``fp32``, as for every
    engine that computes a file as it is.
    """
    manifest = _manifest(folder)
    if manifest is None or not _regions_on_gpu(manifest):
        return "fp32"
    return str(manifest.coverage["byoc"].get("precision", "fp32"))


def _manifest(folder: str | Path | None) -> Manifest | None:
    with contextlib.suppress(TvmkdError):
        return artifact.read(Path(folder or ""), verify=False)
    return None


def _opens_a_gpu(manifest: Manifest) -> bool:
    return manifest.runtime == STANDALONE and manifest.target.get("device") == "cuda"


def spent(manifest: Manifest) -> dict[str, float | None]:
    """Seconds to build the artifact, and the tuning trials behind its records.

    None if the manifest has no such entry: it is older, or the trials of its records are unknown.
    """
    trials: list[Any] = [made.get("trial_seconds") for made in manifest.records if made.get("used")]
    return {
        "engine_build_seconds": manifest.coverage.get("build_seconds"),
        "tuning_seconds": None if None in trials or not trials else float(sum(trials)),
    }
