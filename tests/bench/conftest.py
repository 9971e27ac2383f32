from __future__ import annotations

from pathlib import Path

import pytest
import toys


@pytest.fixture(scope="session")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """relu(x @ w), 1 x 8."""
    return toys.onnx_file(tmp_path_factory.mktemp("onnx") / "toy.onnx")


@pytest.fixture(autouse=True)
def _engines_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engine processes find `engines_for_tests` as ``bench.engines_for_tests``."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
