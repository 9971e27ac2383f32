"""Regions of a model that another engine runs inside a TVM library."""

from __future__ import annotations
