from __future__ import annotations

import pytest

pytest.register_assert_rewrite("conformance", "fuzz", "native_server", "running")
