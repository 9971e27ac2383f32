"""A network on three emulated Jetson Nanos: tuned, cross-built, checked, run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest

from tvmkd import targets
from tvmkd.boards import emulate
from tvmkd.boards.remote import RemoteModel
from tvmkd.stacks.compile import build, tune
from tvmkd.tuning import records

pytestmark = [
    pytest.mark.usefixtures("warm_worker"),
    pytest.mark.board,
    pytest.mark.rpc,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(emulate.why_no_counts() is not None, reason=str(emulate.why_no_counts())),
]


def test_a_network_on_three_emulated_nanos(tmp_path: Path) -> None:
    nano, folder = targets.load("jetson-nano"), tmp_path / "records"
    onnx = graphs.separable(tmp_path / "m.onnx")
    with emulate.emulated_fleet(nano, 3, "nano", icount=True) as address:
        where: dict[str, Any] = {
            "tracker": (address["host"], address["port"]),
            "key": address["key"],
            "evaluator": "icount",
        }
        summary = tune(onnx, nano, folder, trials=18, **where)
        assert (summary["trials"], summary["errors"]) == (18, {})
        manifest = build(onnx, nano, [folder], tmp_path / "out", board=address)
        assert manifest["check"]["max_error"] < 1e-4
        assert manifest["check"]["on"]["emulated"] is True
        assert manifest["coverage"]["tuned"] == manifest["coverage"]["tasks"]
        sample = np.random.default_rng(5).standard_normal((1, 3, 20, 20)).astype("float32")
        with RemoteModel(tmp_path / "out" / "model.so", nano.to_dict(), address) as model:
            (found,) = model.run([sample])
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {session.get_inputs()[0].name: sample})
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert len({line["board"] for line in records.read_lines(folder / records.TRIALS)}) == 3
    assert json.loads((folder / records.SIDECAR).read_text())["measured_on"] == "emulated"
