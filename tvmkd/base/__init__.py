"""Shared nouns with no dependency: errors, text, console, files, wire, machine, manifest types."""

from __future__ import annotations
