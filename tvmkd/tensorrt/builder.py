"""Builds an engine from an ONNX file with the installed TensorRT, of any generation."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from tvmkd.base.errors import InputError, MissingError, TvmkdError, UsageError
from tvmkd.export.check import digest, parse
from tvmkd.export.weights import check_external
from tvmkd.tensorrt import calibrate, device, layers, parser, precision, profiles, timing_cache
from tvmkd.tensorrt.api import Bindings
from tvmkd.tensorrt.device import Gpu
from tvmkd.tensorrt.engine import Engine
from tvmkd.tensorrt.options import BuildOptions
from tvmkd.tensorrt.progress import Report, monitor

if TYPE_CHECKING:
    from tvmkd.tensorrt.cuda_runtime import CudaRuntime

__all__ = ["BuildOptions", "Engine", "build"]

MIB = 1 << 20
HINTS = {
    "workspace": "give it more workspace (--workspace)",
    "Turing": "give --precision fp16, or build for a newer GPU (--compute-capability)",
    "out of memory": "close what else uses the GPU, or give less workspace (--workspace)",
}
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class _Goal:
    """The GPU that an engine is built for."""

    gpu: str | None
    compute_capability: str | None
    driver: str | None


def build(
    onnx_path: Path,
    options: BuildOptions,
    bindings: Bindings,
    progress: Report | None = None,
    *,
    cuda: CudaRuntime | None = None,
) -> Engine:
    """Builds an engine. TensorRT needs the GPU that the engine is for; TensorRT-RTX does not.

    Args:
        onnx_path: the model. In a generation without precision flags it is converted to the
            precision of ``options`` first.
        options: what to build.
        bindings: the TensorRT package.
        progress: gets the phases and the share done; only some generations report them.
        cuda: the GPU for a calibrator; opened here if it is needed and not given.

    Raises:
        InputError: the file, the options for it, or a layer cannot be used; names the nodes.
        MissingError: there is no GPU, or no CUDA package for calibration.
        UsageError: a compute capability is given and the product cannot build for it.
    """
    model = parse(onnx_path)
    ranges = profiles.ranges(model, options, onnx_path)
    goal = aim(options, bindings, device.find())
    log = bindings.log
    log.clear()
    log.verbose = options.verbose
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-engine-")))
        path = precision.prepare(onnx_path, model, options, bindings, folder)
        builder = _builder(bindings)
        network = builder.create_network(bindings.creation_flags())
        read = model if path == onnx_path else onnx.load(str(path), load_external_data=False)
        # Kept alive by this name: the parser owns the network's weights.
        _reader = parser.parse(network, path, read, onnx_path, bindings)
        config = builder.create_builder_config()
        notes = precision.set_flags(config, builder, options, bindings)
        _aim(config, options, goal, bindings)
        _workspace(config, options, bindings)
        profile = _profile(builder, config, ranges, onnx_path, bindings)
        if precision.calibrates(model, options, bindings):
            opened.enter_context(_calibrated(config, network, profile, options, bindings, cuda))
        plan, seconds = _plan(
            builder, network, config, onnx_path, options, bindings, progress, notes
        )
        made = layers.from_log(log.layers)
        if not made and goal.gpu is not None:
            made = layers.inspect(plan, bindings)
        return Engine(
            plan=plan,
            product=bindings.product,
            version=bindings.version,
            precision=options.precision,
            gpu=goal.gpu,
            compute_capability=goal.compute_capability,
            driver=goal.driver,
            seconds=seconds,
            layers=tuple(made),
            network_layers=network.num_layers,
            inputs=tuple(_tensor(network.get_input(i)) for i in range(network.num_inputs)),
            outputs=tuple(_tensor(network.get_output(i)) for i in range(network.num_outputs)),
            batch=options.batch,
            onnx_sha256=model_hash(onnx_path, model),
            notes=tuple(notes),
        )


def _plan(
    builder: Any,
    network: Any,
    config: Any,
    source: Path,
    options: BuildOptions,
    bindings: Bindings,
    progress: Report | None,
    notes: list[str],
) -> tuple[bytes, float]:
    """Builds the serialised engine, and returns it with the seconds; adds to ``notes``."""
    cache = options.timing_cache
    if cache is not None:
        notes += timing_cache.attach(config, cache, bindings)
    # Stores the names and tactics of the layers, which profiles and reports show later.
    config.profiling_verbosity = bindings.module.ProfilingVerbosity.DETAILED
    watch = monitor(bindings.module, progress or (lambda _phase, _share: None), bindings.log)
    if watch is not None:
        config.progress_monitor = watch
    start = time.monotonic()
    memory = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - start
    if bindings.log.stopped is not None:
        raise bindings.log.stopped
    if memory is None:
        raise _refused(source, bindings)
    if cache is not None:
        timing_cache.keep(config, cache, bindings)
    return bytes(memory), seconds


def model_hash(path: Path, model: onnx.ModelProto | None = None) -> str:
    """The SHA-256 of a model's file and of its external weights.

    Raises:
        InputError: the file is no ONNX file, or external weights are missing.
    """
    model = parse(path) if model is None else model
    return digest(path, check_external(model, path))


def aim(options: BuildOptions, bindings: Bindings, gpu: Gpu | None) -> _Goal:
    """The GPU that the engine is for.

    Raises:
        UsageError: a compute capability is given, and the product builds for the GPU of this
            machine only.
    """
    if options.compute_capability is not None:
        if not bindings.crosses:
            raise UsageError(
                f"{bindings.title} builds for the GPU of this machine: leave --compute-capability "
                "out, or give --product tensorrt-rtx"
            )
        return _Goal(None, options.compute_capability, None)
    if gpu is None:
        return _Goal(None, None, None)
    return _Goal(gpu.name, gpu.compute_capability, gpu.driver)


def _builder(bindings: Bindings) -> Any:
    # Without a GPU the factory returns null, and pybind11 raises a TypeError.
    with contextlib.suppress(TypeError, RuntimeError):
        builder = bindings.module.Builder(bindings.log.handle)
        if builder is not None:
            return builder
    raise MissingError(
        f"{bindings.title} does not start ({bindings.log.why()}): it needs an NVIDIA GPU and its "
        "driver (nvidia-smi shows them)"
    )


def _aim(config: Any, options: BuildOptions, goal: _Goal, bindings: Bindings) -> None:
    if not bindings.crosses or goal.compute_capability is None:
        # Without a GPU and a compute capability, TensorRT-RTX builds for all that it supports.
        return
    names = bindings.module.ComputeCapability
    name = "CURRENT" if options.compute_capability is None else f"SM{_digits(goal)}"
    if not hasattr(names, name):
        found = (re.fullmatch(r"SM(\d+)(\d)", text) for text in dir(names))
        known = sorted((int(match[1]), int(match[2])) for match in found if match)
        raise UsageError(
            f"{bindings.title} does not build for {goal.compute_capability}; it does for "
            f"{', '.join(f'{major}.{minor}' for major, minor in known)}"
        )
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(getattr(names, name), 0):
        raise InputError(f"{bindings.title}: {bindings.log.why()}")


def _digits(goal: _Goal) -> str:
    return (goal.compute_capability or "").replace(".", "")


def _workspace(config: Any, options: BuildOptions, bindings: Bindings) -> None:
    if options.workspace_mib is None:
        return
    size = options.workspace_mib * MIB
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(bindings.module.MemoryPoolType.WORKSPACE, size)
    else:
        config.max_workspace_size = size


def _profile(
    builder: Any,
    config: Any,
    ranges: dict[str, profiles.Range],
    source: Path,
    bindings: Bindings,
) -> Any:
    if not ranges:
        return None
    profile = builder.create_optimization_profile()
    for name, shapes in ranges.items():
        profile.set_shape(name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise InputError(
            f"{source}: {bindings.title} refuses the shapes {ranges}: {bindings.log.why()}"
        )
    return profile


@contextlib.contextmanager
def _calibrated(
    config: Any,
    network: Any,
    profile: Any,
    options: BuildOptions,
    bindings: Bindings,
    cuda: CudaRuntime | None,
) -> Iterator[None]:
    assert options.calibration is not None
    shape = tuple(network.get_input(0).shape)
    batch = options.batch[1] if options.batch is not None else shape[0]
    with contextlib.ExitStack() as opened:
        if cuda is None:
            from tvmkd.tensorrt import cuda as runtimes

            cuda = runtimes.find()
            opened.callback(cuda.close)
        feeder = calibrate.calibrator(bindings, options.calibration, batch, cuda)
        opened.callback(feeder.release)
        config.int8_calibrator = feeder
        if profile is not None:
            config.set_calibration_profile(profile)
        yield


def _refused(source: Path, bindings: Bindings) -> TvmkdError:
    why = bindings.log.why()
    hint = next((text for word, text in HINTS.items() if word.lower() in why.lower()), None)
    return InputError(
        f"{source}: {bindings.title} cannot build it: {why}; "
        f"{hint or 'give --verbose to see all that it says'}"
    )


def _tensor(tensor: Any) -> dict[str, Any]:
    name = str(tensor.dtype).rpartition(".")[2]
    return {
        "name": tensor.name,
        "shape": [int(size) for size in tensor.shape],
        "dtype": _DTYPES.get(name, name.lower()),
    }
