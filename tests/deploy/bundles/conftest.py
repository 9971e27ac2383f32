from __future__ import annotations

from pathlib import Path

import board_machine
import pytest
from bundle_fixtures import artifacts, bundles, keys
from wires import wire

__all__ = ["artifacts", "bundles", "keys", "wire"]


@pytest.fixture
def board(tmp_path: Path) -> board_machine.Board:
    """An empty board without systemd."""
    return board_machine.Board(tmp_path)
