"""``torch.compile`` (Inductor) on the CPU, from the same checkpoint as the eager engine.

Options: those of the eager engine, and ``mode`` of `torch.compile`.
"""

from __future__ import annotations

from typing import Any

from tvmkd.base.errors import MissingError
from tvmkd.bench.engines.base import Inputs
from tvmkd.bench.engines.torch_eager import TorchEngine


class TorchCompileEngine(TorchEngine):
    """The eager engine's module, compiled for the example's shapes."""

    def prepare(self, example: Inputs) -> None:
        """Compiles by calling the module once. On failure there is no fallback to eager mode."""
        eager = self.load()
        import torch

        self.module = torch.compile(
            eager, mode=self.spec.options.get("mode"), dynamic=False, fullgraph=True
        )
        try:
            self.infer(example)
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
