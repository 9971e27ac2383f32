"""What runs an artifact."""

from __future__ import annotations

TVM, STANDALONE = "tvm", "standalone"
RUNTIMES = (TVM, STANDALONE)
"""TVM's runtime, or nothing but the artifact's own library."""
