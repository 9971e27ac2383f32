"""Runs a compiled library, in this process or in a subprocess."""

from __future__ import annotations
