"""ONNX Runtime, on the CPU or with one of NVIDIA's execution providers: one class per provider.

FP32 models run in FP32 on a GPU too: TF32, which the CUDA provider uses by default, is disabled.

Options: ``optimization`` = "all" (default) or "disabled" (for the reference outputs);
``allow_spinning`` (default True, as ONNX Runtime's own default).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from tvmkd.base.errors import MissingError
from tvmkd.base.onnx_runtime import CPU, ERROR, numpy_dtype, open_session, package
from tvmkd.bench.engines.base import Device, Engine, Inputs

if TYPE_CHECKING:
    import onnxruntime


CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


class OrtEngine(Engine):
    """``InferenceSession.run`` on the CPU, with the given number of threads.

    Attributes:
        providers: an operator runs in the first provider that supports it.
    """

    device: ClassVar[Device | None] = "CPU"
    providers: ClassVar[tuple[str, ...]] = (CPU,)
    session: onnxruntime.InferenceSession

    def open(self) -> None:
        """Creates the session without running it; sufficient for `signature`.

        Raises:
            MissingError: ONNX Runtime or the provider is not installed or does not start.
            InputError: the model cannot be loaded.
        """
        ort = package()
        wanted = self.providers
        if wanted[0] not in ort.get_available_providers():
            raise MissingError(
                f"this ONNX Runtime {ort.__version__} has no {wanted[0]}: pip uninstall "
                "onnxruntime && pip install onnxruntime-gpu"
            )
        self.session = open_session(
            self.path(),
            threads=self.threads,
            optimize=self.spec.options.get("optimization", "all") != "disabled",
            spin=self.spec.options.get("allow_spinning", True),
            providers=[self._provider(name) for name in wanted],
            log_level=ERROR,
        )
        if self.session.get_providers()[0] != wanted[0]:
            # It reports the reason on stderr only, and continues with the other providers.
            raise MissingError(
                f"ONNX Runtime's {wanted[0]} does not start: it needs an NVIDIA GPU and the CUDA, "
                "cuDNN and TensorRT libraries of its release notes"
            )

    def _provider(self, name: str) -> tuple[str, dict[str, Any]]:
        """A provider and its options."""
        if name == CUDA:
            return name, {"use_tf32": "0" if self.spec.precision == "fp32" else "1"}
        if name == TENSORRT:
            fp16, int8 = self.spec.precision in ("fp16", "int8"), self.spec.precision == "int8"
            return name, {"trt_fp16_enable": str(fp16), "trt_int8_enable": str(int8)}
        return name, {}

    def signature(self) -> dict[str, list[dict[str, Any]]]:
        """``{"inputs", "outputs"}``: name, shape (int, or str if dynamic) and numpy dtype."""
        return {
            "inputs": [_tensor(value) for value in self.session.get_inputs()],
            "outputs": [_tensor(value) for value in self.session.get_outputs()],
        }

    def prepare(self, example: Inputs) -> None:
        """Opens the session."""
        del example
        self.open()

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """``session.run(None, inputs)``."""
        return functools.partial(self.session.run, None, dict(inputs))

    def facts(self) -> dict[str, Any]:
        """Version, provider and session options."""
        options = self.session.get_session_options()
        return {
            "version": package().__version__,
            "provider": self.session.get_providers()[0],
            "provider_options": self.session.get_provider_options()[
                self.session.get_providers()[0]
            ],
            "intra_op_threads": options.intra_op_num_threads,
            "graph_optimization": str(options.graph_optimization_level).rpartition(".")[2],
        }


class OrtCudaEngine(OrtEngine):
    """ONNX Runtime on the GPU, with cuDNN and cuBLAS."""

    device = "GPU"
    precisions = ("tf32",)
    distribution = "onnxruntime-gpu"
    providers = (CUDA, CPU)


class OrtTensorRTEngine(OrtEngine):
    """ONNX Runtime on the GPU, with TensorRT for the operators that it supports."""

    device = "GPU"
    built_here = True
    precisions = ("tf32", "fp16", "int8")
    distribution = "onnxruntime-gpu"
    providers = (TENSORRT, CUDA, CPU)


def _tensor(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size or "?") for size in value.shape]
    return {"name": value.name, "shape": shape, "dtype": numpy_dtype(value.type)}
