"""What runs a compiled library, in this process or in one of its own."""

from __future__ import annotations
