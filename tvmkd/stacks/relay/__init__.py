"""The Relay stack: importer, AutoScheduler."""

from __future__ import annotations
