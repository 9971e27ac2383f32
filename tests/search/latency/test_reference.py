from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from made_up_boards import HOST

from tvmkd.search.latency import reference
from tvmkd.search.latency.lowering import Lowering


def test_it_is_built_without_records_and_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[bytes] = []

    def build(self: Any, path: Path, records: list[Path], out: Path) -> None:
        assert records == []
        assert out == tmp_path / "out"
        built.append(path.read_bytes())

    monkeypatch.setattr(Lowering, "build", build)
    with Lowering(HOST, dims={"N": 4}) as lowering:
        for _ in range(2):
            reference.build(lowering, tmp_path / "out")
        assert list(lowering.folder.iterdir()) == []
    assert built[0] == built[1]
    (given,) = onnx.load_from_string(built[0]).graph.input
    sizes = tuple(dim.dim_value for dim in given.type.tensor_type.shape.dim)
    assert sizes == reference.SHAPE
