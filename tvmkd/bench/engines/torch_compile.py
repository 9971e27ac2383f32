"""``torch.compile`` (Inductor), from the same checkpoint as the eager engines.

Options: those of the eager engines, and ``mode`` of `torch.compile`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import MissingError, TvmkdError
from tvmkd.bench.engines.base import Inputs
from tvmkd.bench.engines.torch_cuda import TorchCudaEngine
from tvmkd.bench.engines.torch_eager import TorchEngine

if TYPE_CHECKING:
    import torch


class TorchCompileEngine(TorchEngine):
    """The eager engine's module, compiled for the example's shapes."""

    def ready(self, module: torch.nn.Module) -> Any:
        """The module compiled; its first call compiles it."""
        import torch

        return torch.compile(
            module, mode=self.spec.options.get("mode"), dynamic=False, fullgraph=True
        )

    def prepare(self, example: Inputs) -> None:
        """Compiles by calling the module once. On failure there is no fallback to eager mode."""
        try:
            super().prepare(example)
        except TvmkdError:
            raise
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            if "compiler" in text.lower() and "found" in text.lower():
                raise MissingError(
                    "torch.compile needs a C++ compiler: apt-get install g++"
                ) from None
            raise

    def facts(self) -> dict[str, Any]:
        """Version, threads and mode."""
        return {
            **super().facts(),
            "backend": "inductor",
            "mode": self.spec.options.get("mode") or "default",
        }


class TorchCompileCudaEngine(TorchCompileEngine, TorchCudaEngine):
    """The eager engine's module on the GPU, compiled for the example's shapes."""
