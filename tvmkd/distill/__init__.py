"""Distillation: a small network learns from a large one."""

from __future__ import annotations

from tvmkd.distill.loop import Result, Run, distill

__all__ = ["Result", "Run", "distill"]
