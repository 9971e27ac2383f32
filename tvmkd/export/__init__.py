"""PyTorch to ONNX, and the door that every ONNX file goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvmkd.export.check import ModelInfo, Tensor, check

if TYPE_CHECKING:
    from tvmkd.export.onnx import export

__all__ = ["ModelInfo", "Tensor", "check", "export"]


def __getattr__(name: str) -> Any:
    # A compiler's process checks files too, and has no torch.
    if name == "export":
        from tvmkd.export.onnx import export

        return export
    raise AttributeError(f"module 'tvmkd.export' has no attribute {name!r}")
