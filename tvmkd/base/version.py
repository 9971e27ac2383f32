"""The version of tvmkd, in the lowest room so that every other can import it."""

from __future__ import annotations

__version__ = "0.1.0"
