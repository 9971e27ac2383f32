"""A cache of engines; the key covers everything that an engine depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base import files, resources
from tvmkd.base.errors import InputError
from tvmkd.tensorrt import device
from tvmkd.tensorrt.api import Bindings
from tvmkd.tensorrt.builder import BuildOptions, Engine, aim, build, model_hash
from tvmkd.tensorrt.device import Gpu
from tvmkd.tensorrt.engine import read, write
from tvmkd.tensorrt.progress import Report

if TYPE_CHECKING:
    from tvmkd.tensorrt.cuda_runtime import CudaRuntime


def folder() -> Path:
    """The cache folder, ``$XDG_CACHE_HOME/tvmkd/engines``."""
    return resources.cache("engines")


def key(onnx_path: Path, options: BuildOptions, bindings: Bindings, gpu: Gpu | None) -> str:
    """The cache key: a hash of model, options, product, version, GPU and driver."""
    goal = aim(options, bindings, gpu)
    return files.key(
        "engine",
        onnx=model_hash(onnx_path),
        options=options.identity(),
        product=bindings.product,
        package=bindings.version,
        gpu=goal.gpu,
        compute_capability=goal.compute_capability,
        driver=goal.driver,
    )


def get(
    onnx_path: Path,
    options: BuildOptions,
    bindings: Bindings,
    progress: Report | None = None,
    *,
    cuda: CudaRuntime | None = None,
) -> tuple[Engine, bool]:
    """Returns the cached engine, or builds and caches it; and True if it was in the cache.

    To build in any case, call `tvmkd.tensorrt.builder.build`.

    Raises:
        As `tvmkd.tensorrt.builder.build`.
    """
    gpu = device.find()
    path = folder() / f"{key(onnx_path, options, bindings, gpu)}.plan"
    if path.exists():
        try:
            return read(path), True
        except InputError:
            # A damaged entry is built again.
            path.unlink(missing_ok=True)
    engine = build(onnx_path, options, bindings, progress, cuda=cuda)
    write(engine, path)
    return engine, False
