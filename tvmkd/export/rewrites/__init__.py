"""Rewrites operators that TVM's importers lack or read wrongly to plain ones of the same opset."""

from __future__ import annotations

from tvmkd.export.rewrites.lowering import lower

__all__ = ["lower"]
