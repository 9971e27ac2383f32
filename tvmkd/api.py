"""Tune, build, compare and load as plain functions: what scripts and notebooks call."""

from __future__ import annotations

from tvmkd.artifact import load
from tvmkd.bench.measure import compare
from tvmkd.stacks.compile import build, tune

__all__ = ["build", "compare", "load", "tune"]
