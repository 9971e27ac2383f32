"""Training and distilling object detectors."""

from __future__ import annotations
