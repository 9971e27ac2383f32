"""The same words as `tvmkd serve`."""

from __future__ import annotations

from tvmkd.deploy.board_server import protocol
from tvmkd.deploy.serving import faults, tensors


def test_types_and_errors_are_those_of_tvmkd_serve() -> None:
    assert faults.STATUS == protocol.STATUS
    assert set(protocol.STATUS.values()) | {200} == set(protocol.REASONS)
    ours = {name: (dtype, size) for dtype, (name, _, size) in protocol.DTYPES.items()}
    assert ours == tensors.DATATYPES
    without = {name for name, letter, _ in protocol.DTYPES.values() if not letter}
    assert without == tensors.WITHOUT_JSON
