"""Statistics, timed loops and interleaving: the one harness for everything that is timed."""

from __future__ import annotations
