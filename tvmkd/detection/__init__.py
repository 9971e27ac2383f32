"""Detectors without torch: what a compiled one says of itself, decoding, suppression, timing."""

from __future__ import annotations
