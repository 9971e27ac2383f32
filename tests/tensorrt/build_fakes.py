"""Fakes of the builder in each TensorRT generation.

What each generation has is taken from the sources of NVIDIA's bindings (python/src/infer/pyCore.cpp
and python/src/parsers/pyOnnx.cpp at the tags 8.2.1, v8.6.1, v10.13.0 and v11.1) and from
tensorrt-rtx 1.7.1. Objects refuse attributes that the real ones do not have, as pybind11's do, and
answer None, False or -1 where the real ones do. A plan is the JSON of what the builder was told.
"""

from __future__ import annotations

import enum
import json
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tvmkd.tensorrt.api import Bindings
from tvmkd.tensorrt.device import Gpu

GPU = Gpu("NVIDIA Stand-in", "8.6", "550.54.15")
GENERATIONS = ("8.2", "8.6", "10", "11", "rtx")
FLAGGED = ("8.2", "8.6", "10")
VERSIONS = {
    "8.2": "8.2.1.8",
    "8.6": "8.6.1",
    "10": "10.13.0.35",
    "11": "11.1.0",
    "rtx": "1.7.1.116",
}

NO_PROFILE = (
    "4: [network.cpp::validate::2871] Error Code 4: Internal Error (Network has dynamic or shape "
    "inputs, but no optimization profile has been defined.)"
)
NO_SCALES = (
    "4: [standardEngineBuilder.cpp::initCalibrationParams::1402] Error Code 4: Internal Error "
    "(Calibration failure occurred with no scaling factors detected.)"
)
CANCELED = (
    "IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled (Build canceled by user In next "
    "at /_src/optimizer/common/scopedProgressReporter.cpp:92)"
)
NO_GPU = (
    "6: [cudaResources.cpp::ScopedCudaStream::38] Error Code 6: Internal Error (CUDA "
    "initialization failure with error: 35)"
)


class _Named(enum.IntEnum):
    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


def _enum(name: str, members: str) -> Any:
    return _Named(name, members.split(), start=0)


class _Strict:
    """Allows only the attributes that its class declares, as a pybind11 object does."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)


class _Tensor:
    def __init__(self, entry: onnx.ValueInfoProto, dtypes: Any) -> None:
        kind = entry.type.tensor_type
        self.name = entry.name
        self.shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
        self.dtype = dtypes.HALF if kind.elem_type == TensorProto.FLOAT16 else dtypes.FLOAT


class _Error:
    """An error of the parser before TensorRT 10."""

    def __init__(self, index: int, node: onnx.NodeProto, code: Any) -> None:
        self._index, self._node, self._code = index, node, code

    def code(self) -> Any:
        return self._code

    def desc(self) -> str:
        return f"Assertion failed: {self._node.op_type} is not there.\n"

    def node(self) -> int:
        return self._index


class _NamedError(_Error):
    def node_name(self) -> str:
        return self._node.name

    def node_operator(self) -> str:
        return self._node.op_type


class _Cache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytearray:
        return bytearray(self.data)


class Generation:
    """One generation's module and what tests want to know or change of it.

    Attributes:
        unsupported: operators that the parser refuses.
        refusal: an error that the builder answers with.
        raises: called in the middle of a build, for what a person does meanwhile.
        configs: every builder's configuration so far.
        builds: how many builds were asked for.
        workload: the calibrator's batches, as lists of addresses.
        inspected: what the engine inspector says.
    """

    def __init__(self, name: str, *, gpu: bool = True) -> None:
        self.name = name
        self.gpu = gpu
        self.unsupported = {"Det"}
        self.refusal = ""
        self.meanwhile: Callable[[], None] = lambda: None
        self.configs: list[Any] = []
        self.builds = 0
        self.workload: list[list[int]] = []
        self.inspected: Any = {"Layers": [{"Name": "conv + act", "LayerType": "CaskConvolution"}]}
        self.module = self._module()

    @property
    def bindings(self) -> Bindings:
        product = "tensorrt-rtx" if self.name == "rtx" else "tensorrt"
        return Bindings(self.module, product, VERSIONS[self.name])  # type: ignore[arg-type]

    def _module(self) -> Any:
        old, flagged = self.name in ("8.2", "8.6"), self.name in FLAGGED
        module: Any = types.ModuleType("tensorrt_rtx" if self.name == "rtx" else "tensorrt")
        module.__version__ = VERSIONS[self.name]
        module.__file__ = f"/nowhere/{module.__name__}/__init__.py"
        flags = "FP16 INT8 DEBUG TF32" if flagged else "DEBUG TF32"
        module.BuilderFlag = _enum("BuilderFlag", flags)
        module.NetworkDefinitionCreationFlag = _enum(
            "NetworkDefinitionCreationFlag",
            "EXPLICIT_BATCH EXPLICIT_PRECISION"
            if old
            else "EXPLICIT_BATCH STRONGLY_TYPED"
            if flagged
            else "STRONGLY_TYPED",
        )
        module.ProfilingVerbosity = _enum("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED")
        module.LayerInformationFormat = _enum("LayerInformationFormat", "ONELINE JSON")
        module.DataType = _enum("DataType", "FLOAT HALF INT8 INT32 BOOL")
        module.ErrorCode = _enum("ErrorCode", "SUCCESS INTERNAL_ERROR UNSUPPORTED_NODE")
        module.ILogger = type("ILogger", (), {"__init__": lambda self: None})
        if flagged:
            module.IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (), {})
        if not old:
            module.IProgressMonitor = type("IProgressMonitor", (), {})
        if self.name != "8.2":
            module.MemoryPoolType = _enum("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM")
        if self.name == "rtx":
            module.ComputeCapability = _enum("ComputeCapability", "NONE CURRENT SM75 SM86 SM120")
        module.IBuilderConfig = self._config_class(module)
        module.Builder = self._builder_class(module)
        module.OnnxParser = self._parser_class(module)
        module.Runtime = self._runtime_class()
        return module

    def _config_class(self, module: Any) -> type:
        generation = self

        class Config(_Strict):
            profiling_verbosity = None

            def __init__(self) -> None:
                self._flags = {"TF32"}
                self._profiles: list[Any] = []
                self._told: dict[str, Any] = {}
                self._timing: Any = None
                generation.configs.append(self)

            def set_flag(self, flag: Any) -> None:
                self._flags.add(module.BuilderFlag(flag).name)

            def clear_flag(self, flag: Any) -> None:
                self._flags.discard(module.BuilderFlag(flag).name)

            def add_optimization_profile(self, profile: Any) -> int:
                if not profile:
                    log(generation.logger, 1, "Error Code 3: API Usage Error (not valid.)")
                    return -1
                self._profiles.append(profile)
                return len(self._profiles) - 1

            def create_timing_cache(self, serialized_timing_cache: bytes) -> _Cache:
                return _Cache(bytes(serialized_timing_cache))

            def set_timing_cache(self, cache: _Cache, ignore_mismatch: bool) -> bool:
                if cache.data not in (b"", b"of this GPU") and not ignore_mismatch:
                    return False
                self._timing = cache
                return True

            def get_timing_cache(self) -> _Cache | None:
                return self._timing

        class Pools(Config):
            def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
                self._told[module.MemoryPoolType(pool).name] = pool_size

        class Crossing(Pools):
            num_compute_capabilities = 0

            def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
                if index >= self.num_compute_capabilities:
                    return False
                self._told["capability"] = compute_capability.name
                return True

        base = {"8.2": Config, "rtx": Crossing}.get(self.name, Pools)
        declared: dict[str, Any] = {}
        if self.name in ("8.2", "8.6"):
            declared["max_workspace_size"] = None
        if self.name in FLAGGED:
            declared["int8_calibrator"] = None

            def set_calibration_profile(config: Any, profile: Any) -> bool:
                config._told["calibrated"] = profile.shapes
                return True

            declared["set_calibration_profile"] = set_calibration_profile
        if self.name in ("10", "11", "rtx"):
            declared["progress_monitor"] = None
        return type("IBuilderConfig", (base,), declared)

    def _builder_class(self, module: Any) -> type:
        generation = self

        class Profile:
            def __init__(self) -> None:
                self.shapes: dict[str, Any] = {}

            def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
                self.shapes[input] = [list(min), list(opt), list(max)]

            def __bool__(self) -> bool:
                columns = [zip(*shapes, strict=True) for shapes in self.shapes.values()]
                return all(a <= b <= c for column in columns for a, b, c in column)

        class Builder:
            def __init__(self, logger: Any) -> None:
                generation.logger = logger
                if not generation.gpu and generation.name != "rtx":
                    log(logger, 1, NO_GPU)
                    raise TypeError("pybind11::init(): factory function returned nullptr")

            def create_network(self, flags: int = 0) -> Any:
                network: Any = types.SimpleNamespace(inputs=[], outputs=[], flags=flags)
                network.get_input = lambda index: network.inputs[index]
                network.get_output = lambda index: network.outputs[index]
                network.num_inputs = network.num_outputs = network.num_layers = 0
                return network

            def create_builder_config(self) -> Any:
                return module.IBuilderConfig()

            def create_optimization_profile(self) -> Profile:
                return Profile()

            def build_serialized_network(self, network: Any, config: Any) -> bytearray | None:
                generation.builds += 1
                return generation.build(self, network, config)

        if self.name in FLAGGED:
            Builder.platform_has_fast_fp16 = True  # type: ignore[attr-defined]
            Builder.platform_has_fast_int8 = False  # type: ignore[attr-defined]
        return Builder

    def _parser_class(self, module: Any) -> type:
        generation = self
        error = _NamedError if self.name in ("10", "11", "rtx") else _Error

        class OnnxParser:
            def __init__(self, network: Any, logger: Any) -> None:
                self._network, self._errors = network, []

            def parse_from_file(self, model: str) -> bool:
                loaded = onnx.load(model, load_external_data=False)
                code = module.ErrorCode.UNSUPPORTED_NODE
                self._errors: list[Any] = [
                    error(index, node, code)
                    for index, node in enumerate(loaded.graph.node)
                    if node.op_type in generation.unsupported
                ]
                if generation.name in ("8.2", "8.6") and not self._network.flags & 1:
                    log(generation.logger, 1, "network must be created with EXPLICIT_BATCH")
                    return False
                if self._errors:
                    return False
                dtypes, net = module.DataType, self._network
                net.inputs += [_Tensor(entry, dtypes) for entry in loaded.graph.input]
                net.outputs += [_Tensor(entry, dtypes) for entry in loaded.graph.output]
                net.num_inputs, net.num_outputs = len(net.inputs), len(net.outputs)
                net.num_layers = len(loaded.graph.node)
                net.types = sorted({entry.data_type for entry in loaded.graph.initializer})
                net.quantized = any("Quantize" in node.op_type for node in loaded.graph.node)
                return True

            @property
            def num_errors(self) -> int:
                return len(self._errors)

            def get_error(self, index: int) -> Any:
                return self._errors[index]

        return OnnxParser

    def _runtime_class(self) -> type:
        generation = self

        class Runtime:
            def __init__(self, logger: Any) -> None:
                pass

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
                if not generation.gpu:
                    return None
                text = generation.inspected
                text = text if isinstance(text, str) else json.dumps(text)
                inspector = types.SimpleNamespace(get_engine_information=lambda _format: text)
                return types.SimpleNamespace(create_engine_inspector=lambda: inspector)

        return Runtime

    def build(self, builder: Any, network: Any, config: Any) -> bytearray | None:
        """The work of ``build_serialized_network``."""
        if self.refusal:
            return self._refuse(self.refusal)
        if not config._profiles and any(-1 in tensor.shape for tensor in network.inputs):
            return self._refuse(NO_PROFILE)
        calibrator = getattr(config, "int8_calibrator", None)
        if "INT8" in config._flags and not network.quantized:
            if calibrator is None:
                return self._refuse(NO_SCALES)
            assert calibrator.read_calibration_cache() is None
            names = [tensor.name for tensor in network.inputs]
            while batch := calibrator.get_batch(names):
                self.workload.append(batch)
            calibrator.write_calibration_cache(memoryview(b"ranges"))
        if not all(self._phases(getattr(config, "progress_monitor", None))):
            return self._refuse(CANCELED)
        if config._timing is not None:
            config._timing.data = b"of this GPU"
        told = {
            "flags": sorted(config._flags),
            "types": network.types,
            "quantized": network.quantized,
            "profiles": [profile.shapes for profile in config._profiles],
            "workspace": getattr(config, "max_workspace_size", None),
            "creation": network.flags,
            "verbosity": config.profiling_verbosity.name,
            **config._told,
        }
        return bytearray(json.dumps(told).encode())

    def _phases(self, monitor: Any) -> Iterator[bool]:
        if monitor is None:
            self.meanwhile()
            return
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Timing tactics", "Building engine", 4)
        for step in range(4):
            self.meanwhile()
            yield monitor.step_complete("Timing tactics", step)
        monitor.phase_finish("Timing tactics")
        for step in range(2):
            yield monitor.step_complete("Building engine", step)
        monitor.phase_finish("Building engine")

    def _refuse(self, text: str) -> None:
        log(self.logger, 1, text)


def log(logger: Any, severity: int, text: str) -> None:
    """Fails as TensorRT does: an exception in a logger ends the process."""
    try:
        logger.log(severity, text)
    except BaseException as error:
        raise AssertionError("std::terminate") from error


def told(plan: bytes) -> dict[str, Any]:
    """The settings of the builder, which a fake plan contains."""
    result: dict[str, Any] = json.loads(plan)
    return result


class Memory:
    """The calls of `CudaRuntime` that a calibrator needs; device memory is a dictionary."""

    def __init__(self, full: bool = False) -> None:
        self.full = full
        self.device: dict[int, bytes] = {}
        self.pinned = 0
        self.streams = 0
        self.waiting = False

    def stream(self) -> str:
        self.streams += 1
        return "stream"

    def destroy_stream(self, stream: str) -> None:
        self.streams -= 1

    def pin(self, size: int) -> np.ndarray:
        self.pinned += 1
        return np.empty(size, np.uint8)

    def unpin(self, array: np.ndarray) -> None:
        self.pinned -= 1

    def malloc(self, size: int) -> int:
        if self.full:
            raise MemoryError("the GPU is full")
        address = 4096 * (len(self.device) + 1)
        self.device[address] = b"?" * size
        return address

    def free(self, address: int) -> None:
        del self.device[address]

    def to_device(self, address: int, source: np.ndarray, stream: str) -> None:
        assert stream == "stream"
        self.device[address] = source.tobytes()
        self.waiting = True

    def synchronize(self, stream: str) -> None:
        self.waiting = False
