"""Runs detectors without torch: decoding, non-maximum suppression, timing."""

from __future__ import annotations
