from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peers import check, prepared, unknown

from tvmkd.base.errors import InputError

NEEDED = pytest.importorskip("_mnncengine", reason="needs MNN: pip install mnn")


def test_runs_in_fp32_on_the_given_threads(tmp_path: Path) -> None:
    engine = check("mnn", tmp_path)
    facts = engine.facts()
    assert (facts["num_thread"], facts["precision"]) == (1, "high")
    assert (engine.size_bytes() or 0) > 4 * 12


def test_a_file_that_it_does_not_convert_is_named_with_the_reason(tmp_path: Path) -> None:
    path = unknown(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"m\.onnx: not converted: .*Not Support: ONNX::Foo"):
        prepared("mnn", path, {"x": np.zeros((1, 3), np.float32)})
    with pytest.raises(InputError, match=r"no inputs of float64 \(input x\)"):
        prepared("mnn", path, {"x": np.zeros((1, 3))})
