from __future__ import annotations

from bundle_fixtures import artifacts, bundles, keys
from wires import wire

__all__ = ["artifacts", "bundles", "keys", "wire"]
