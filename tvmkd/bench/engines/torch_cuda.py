"""PyTorch in eager mode on this machine's NVIDIA GPU, from a checkpoint.

As for every engine, a timed call takes numpy arrays and gives numpy arrays: copies to the GPU and
back are part of it. FP32 models run in FP32: TF32, which cuDNN's convolutions use by default, is
disabled. In FP16 weights are cast once, inputs and outputs in each call.

Options: those of `tvmkd.bench.engines.torch_eager`, and ``cuda_graph`` (default False).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tvmkd.base.errors import MissingError
from tvmkd.bench.engines.base import Inputs
from tvmkd.bench.engines.torch_eager import TorchEngine, to_numpy

if TYPE_CHECKING:
    import torch

BEFORE_CAPTURE = 3
"""Calls before a CUDA graph is captured: libraries allocate and choose algorithms in the first."""


class TorchCudaEngine(TorchEngine):
    """``module(*tensors)`` on the GPU under ``torch.inference_mode``."""

    device = "GPU"
    cuda_graphs = True
    precisions = ("tf32", "fp16")
    distribution = "torch"
    where: ClassVar[str] = "cuda"
    _forward: Callable[[Sequence[Any]], Any]

    def load(self) -> torch.nn.Module:
        """The checkpoint's module on the GPU.

        Raises:
            MissingError: this torch cannot use a GPU, or what the eager engine on the CPU raises.
        """
        module = super().load()
        import torch

        if self.where == "cuda" and not torch.cuda.is_available():
            raise MissingError(
                f"this torch {torch.__version__} finds no CUDA: it is built without, or the driver "
                "is too old for it; see https://pytorch.org/get-started"
            )
        tf32 = self.spec.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        there = module.to(self.where)
        return there.half() if self.spec.precision == "fp16" else there

    def prepare(self, example: Inputs) -> None:
        """Builds the module on the GPU, and captures a CUDA graph if one is asked for."""
        self._forward = self._plain
        super().prepare(example)
        if self.spec.options.get("cuda_graph", False):
            self._forward = self._captured(example)
            self.infer(example)

    def _plain(self, arrays: Sequence[Any]) -> Any:
        return self.module(*map(self._there, arrays))

    def _there(self, array: Any) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(array).to(self.where)
        half = self.spec.precision == "fp16" and tensor.is_floating_point()
        return tensor.half() if half else tensor

    def _captured(self, example: Inputs) -> Callable[[Sequence[Any]], Any]:
        """https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs"""
        import torch

        fixed = [self._there(array) for array in example.values()]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(side):
                for _ in range(BEFORE_CAPTURE):
                    self.module(*fixed)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                result = self.module(*fixed)

        def forward(arrays: Sequence[Any]) -> Any:
            for there, array in zip(fixed, arrays, strict=True):
                there.copy_(torch.from_numpy(array))
            graph.replay()
            return result

        return forward

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Returns a function: inputs to the GPU, the module, outputs back."""
        import torch

        arrays, inference_mode = tuple(inputs.values()), torch.inference_mode

        def call() -> Any:
            with inference_mode():
                return to_numpy(on_cpu(self._forward(arrays)))

        return call

    def facts(self) -> dict[str, Any]:
        """Those of the eager engine on the CPU, and of CUDA."""
        import torch

        there = self.where == "cuda"
        return {
            **super().facts(),
            "cuda": torch.version.cuda,
            "gpu_memory_bytes": torch.cuda.max_memory_reserved() if there else None,
        }


def on_cpu(result: Any) -> Any:
    """A module's outputs on the CPU, floats of half precision as FP32, in the same container."""
    if hasattr(result, "cpu"):
        here = result.cpu()
        return here.float() if str(here.dtype) in ("torch.float16", "torch.bfloat16") else here
    if isinstance(result, dict):
        return {key: on_cpu(value) for key, value in result.items()}
    return [on_cpu(value) for value in result]
