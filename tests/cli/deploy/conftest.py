from __future__ import annotations

from bundle_fixtures import artifacts, bundles, keys

__all__ = ["artifacts", "bundles", "keys"]
