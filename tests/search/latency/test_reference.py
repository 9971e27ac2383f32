from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from tvmkd.search.latency import reference


def test_it_is_built_without_records_and_always_the_same(tmp_path: Path) -> None:
    built: list[bytes] = []

    class Lowering:
        def build(self, path: Path, records: list[Path], out: Path) -> None:
            assert records == []
            assert out == tmp_path / "out"
            built.append(path.read_bytes())

    lowering: Any = Lowering()
    for _ in range(2):
        reference.build(lowering, tmp_path / "out")
    assert built[0] == built[1]
    (given,) = onnx.load_from_string(built[0]).graph.input
    sizes = tuple(dim.dim_value for dim in given.type.tensor_type.shape.dim)
    assert sizes == reference.SHAPE
