"""The demo's student on three emulated Jetson Nanos: tuned, cross-built, checked, run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
EXPORT = """
import sys
from pathlib import Path
from tvmkd.export.onnx import export
from tvmkd.models import build
export(build("depthwise").eval(), Path(sys.argv[1]), (1, 1, 32, 32))
"""


def test_the_demos_student_on_three_emulated_nanos(tmp_path: Path) -> None:
    nano, onnx, folder = (
        targets.load("jetson-nano"),
        tmp_path / "student.onnx",
        tmp_path / "records",
    )
    subprocess.run([sys.executable, "-c", EXPORT, str(onnx)], check=True, timeout=300)
    with emulate.emulated_fleet(nano, 3, "nano", icount=True) as address:
        where: dict[str, Any] = {
            "tracker": (address["host"], address["port"]),
            "key": address["key"],
            "evaluator": "icount",
        }
        summary = tune(onnx, nano, folder, trials=64, **where)
        assert (summary["trials"], summary["errors"]) == (64, {})
        manifest = build(onnx, nano, [folder], tmp_path / "out", board=address)
        assert manifest["check"]["max_error"] < 1e-4
        assert manifest["check"]["on"]["emulated"] is True
        assert manifest["coverage"]["tuned"] == manifest["coverage"]["tasks"]
        sample = np.random.default_rng(5).standard_normal((1, 1, 32, 32)).astype("float32")
        with RemoteModel(tmp_path / "out" / "model.so", nano.to_dict(), address) as model:
            (found,) = model.run([sample])
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {session.get_inputs()[0].name: sample})
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert len({line["board"] for line in records.read_lines(folder / records.TRIALS)}) == 3
    assert json.loads((folder / records.SIDECAR).read_text())["measured_on"] == "emulated"
