"""Data sets: the embedded digits, and folders of images."""

from __future__ import annotations

from tvmkd.data.load import load
from tvmkd.data.splits import Images, Splits, TensorImages

__all__ = ["Images", "Splits", "TensorImages", "load"]
