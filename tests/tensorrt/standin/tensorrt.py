"""TensorRT 10 in a process of its own: its engines are ONNX models, which ONNX Runtime computes.

The builder is that of ``build_fakes``; engines run on the fake GPU of ``pycuda.driver``. For
processes with this folder and ``tests/tensorrt`` in PYTHONPATH.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from build_fakes import VERSIONS, Generation
from pycuda.driver import GPU

_generation = Generation("10")
globals().update(
    {name: value for name, value in vars(_generation.module).items() if not name.startswith("__")}
)
__version__ = VERSIONS["10"]
KERNEL_MS = 1.0
_DTYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64"}
_SIZES = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64}
_built = _generation.build


def _build(builder: Any, network: Any, config: Any) -> bytearray | None:
    told = _built(builder, network, config)
    if told is None:
        return None
    header = {"version": __version__, **json.loads(told)}
    return bytearray(json.dumps(header).encode() + b"\n" + network.onnx)


_generation.build = _build  # type: ignore[method-assign]


class OnnxParser(_generation.module.OnnxParser):  # type: ignore[misc]
    def parse_from_file(self, model: str) -> bool:
        self._network.onnx = onnx.load(model).SerializeToString()
        return bool(super().parse_from_file(model))


class TensorIOMode:
    INPUT, OUTPUT = "INPUT", "OUTPUT"


class IProfiler:
    pass


class ICudaEngine:
    device_memory_size_v2 = 512

    def __init__(self, header: dict[str, Any], model: bytes) -> None:
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._profiles = header["profiles"]
        self._inputs = [entry.name for entry in self.session.get_inputs()]
        self.io = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self.io)
        self.num_layers = len(onnx.load_model_from_string(model).graph.node)

    def _of(self, name: str) -> Any:
        return next(entry for entry in self.io if entry.name == name)

    def get_tensor_name(self, index: int) -> str:
        return str(self.io[index].name)

    def get_tensor_mode(self, name: str) -> str:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self._of(name).shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_DTYPES[self._of(name).type])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Any:
        return self._profiles[profile_index][name]

    def create_execution_context(self, strategy: Any = None) -> Any:
        return IExecutionContext(self)

    def create_engine_inspector(self) -> Any:
        layers = {"Layers": [{"Name": "whole", "LayerType": "OnnxRuntime"}]}
        return SimpleNamespace(get_engine_information=lambda _form: json.dumps(layers))


class IExecutionContext:
    profiler: Any = None

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._shapes = {
            name: engine.get_tensor_shape(name)
            for name in map(engine.get_tensor_name, range(engine.num_io_tensors))
        }
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
        self._shapes[name] = tuple(shape)
        feed = {each.name: self._zeros(each.name) for each in self._engine.session.get_inputs()}
        found = self._engine.session.run(None, feed)
        for entry, array in zip(self._engine.session.get_outputs(), found, strict=True):
            self._shapes[entry.name] = array.shape
        return True

    def _zeros(self, name: str) -> np.ndarray:
        dtype = _SIZES[self._engine.get_tensor_dtype(name).name]
        return np.zeros([max(1, size) for size in self._shapes[name]], dtype)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def _work(self) -> Callable[[], None]:
        addresses = dict(self._addresses)

        def there(name: str) -> np.ndarray:
            like = self._zeros(name)
            array: np.ndarray = GPU.view(addresses[name], like.nbytes).view(like.dtype)
            return array.reshape(like.shape)

        def compute() -> None:
            session = self._engine.session
            feed = {entry.name: there(entry.name).copy() for entry in session.get_inputs()}
            for entry, array in zip(session.get_outputs(), session.run(None, feed), strict=True):
                there(entry.name)[...] = array
            GPU.clock += KERNEL_MS

        return compute

    def execute_async_v3(self, stream_handle: int) -> bool:
        GPU.called("execute_async_v3")
        GPU.put(stream_handle, self._work())
        return True

    def execute_v2(self, bindings: list[int]) -> bool:
        names = [entry.name for entry in self._engine.io]
        self._addresses = dict(zip(names, bindings, strict=True))
        self._work()()
        if self.profiler is not None:
            self.profiler.report_layer_time("whole", KERNEL_MS)
        return True


class Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        header, _, model = bytes(serialized_engine).partition(b"\n")
        told = json.loads(header)
        return ICudaEngine(told, model) if told["version"] == __version__ else None
