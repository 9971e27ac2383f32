from __future__ import annotations

from pathlib import Path

import pytest
import running


@pytest.fixture(scope="session")
def toy_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled library: (x, y) -> (x + y, x * y)."""
    return running.toy_library(tmp_path_factory.mktemp("toy-library"))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory, toy_library: Path) -> Path:
    """An artifact of it."""
    return running.make_toy(tmp_path_factory.mktemp("toy") / "toy", toy_library)
