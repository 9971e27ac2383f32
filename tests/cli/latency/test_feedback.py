"""``tvmkd latency feedback``, with a table that predicts what the test says."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from fleets import serving

from tvmkd import artifact, targets
from tvmkd.search.latency import correction, table
from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction

Call = Callable[..., Any]
HOST = targets.load("host").name
KERNEL = Kernel("k", "dense", "dense", 1, 1.0)


class FakeTable:
    """Predicts 2 ms, times the correction in its folder."""

    asked: list[Any]
    unit = "s"
    predicted = 2e-3

    def __init__(self, path: Path, target: Any, **options: Any) -> None:
        self.path = path
        FakeTable.asked = [target.name, options["stack"]]

    def __enter__(self) -> FakeTable:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def predict_model(self, model: Path) -> Prediction:
        FakeTable.asked.append(model.name)
        parts = [KernelTime(KERNEL, 2e-3, "interpolated", 0.1)]
        seconds = self.predicted
        made = Prediction(seconds, 0.95 * seconds, 1.1 * seconds, parts)
        return correction.corrected(made, correction.factor(self.path))


@pytest.fixture(autouse=True)
def fake_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(table, "LatencyTable", FakeTable)
    folder = tmp_path / "table"
    folder.mkdir()
    (tmp_path / "net.onnx").write_bytes(b"onnx")
    return folder


def csv(folder: Path, ms: float) -> Path:
    path = folder / "calls.csv"
    path.write_text("".join(f"{ms * (1 + i % 7 / 500):.6f}\n" for i in range(60)))
    return path


def test_it_says_whether_the_table_holds(tvmkd: Call, tmp_path: Path, fake_table: Path) -> None:
    given = [tmp_path / "net.onnx", "--records", fake_table, "--seen", csv(tmp_path, 2.05)]
    ended = tvmkd("latency", "feedback", *given)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].startswith("60 times, median 2.06")
    assert "holds" in lines
    assert "100% of the predicted time is in kernels that nobody has measured" in lines
    assert FakeTable.asked == [HOST, "relax", "net.onnx"]
    ended = tvmkd("latency", "feedback", *given, "--update", "--json")
    found = json.loads(ended.out)
    assert (found["holds"], found["count"], found["factor"]) == (True, 60, None)
    assert not (fake_table / correction.FILE).exists(), "there is nothing to correct"


def test_a_drift_is_exit_code_1_and_can_be_corrected(
    tvmkd: Call, tmp_path: Path, fake_table: Path
) -> None:
    given = [tmp_path / "net.onnx", "--records", fake_table, "--seen", csv(tmp_path, 3.0)]
    ended = tvmkd("latency", "feedback", *given)
    assert ended.code == 1
    said = ended.out
    assert "drifted by +50." in said
    assert f"measure again with: tvmkd latency table --records {fake_table} --target {HOST}" in said
    assert tvmkd("latency", "feedback", *given, "--update").code == 1
    assert correction.factor(fake_table) == pytest.approx(1.5, abs=0.02)
    assert tvmkd("latency", "feedback", *given).code == 0, "the correction is in the prediction"


def test_a_server_is_asked(
    tvmkd: Call, tmp_path: Path, fake_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prometheus_client")
    answers, top = [100, 160, 100], "0.0021"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        count = answers.pop(0)
        name = "tvmkd_inference_duration_seconds"
        head = f'{name}_bucket{{model="m",version="1",stage="compute",le='
        text = f"# TYPE {name} histogram\n" + "".join(
            f'{head}"{limit}"}} {value}\n'
            for limit, value in (("0.0019", 0), (top, count), ("+Inf", count))
        )
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(text.encode())

    with serving(answer) as url:
        given = [tmp_path / "net.onnx", "--records", fake_table, "--seen", url, "--json"]
        ended = tvmkd("latency", "feedback", *given, "--over", "0.1")
        found = json.loads(ended.out)
        assert (found["count"], found["holds"], found["source"]) == (60, True, url)
        monkeypatch.setattr(FakeTable, "predicted", 1e-3)
        ended = tvmkd("latency", "feedback", *given[:-1])
        assert ended.code == 1
        assert "threads sleep" in ended.out, "why a small network may be slower in a server"
    ended = tvmkd("latency", "feedback", *given)
    assert ended.code == 5
    assert "is the server running there?" in ended.line


def write_artifact(folder: Path, target: str = "x86-64-v3", **files: bytes) -> Path:
    sources = {}
    for name, content in {"model.so": b"so", **files}.items():
        sources[name] = folder / name
        sources[name].write_bytes(content)
    artifact.write(
        folder / "artifact",
        sources,
        name="net",
        target=targets.load(target).to_dict(),
        stack="relay",
        stack_version="0.16",
        onnx_sha256="ab" * 32,
        inputs=[],
        outputs=[],
    )
    return folder / "artifact"


def test_an_artifact_says_what_it_is_for(tvmkd: Call, tmp_path: Path, fake_table: Path) -> None:
    made = write_artifact(tmp_path, **{"normalised.onnx": b"onnx"})
    given = ["--records", fake_table, "--seen", csv(tmp_path, 2.0)]
    assert tvmkd("latency", "feedback", made, *given).code == 0
    assert FakeTable.asked == ["x86-64-v3", "relay", "normalised.onnx"]
    ended = tvmkd("latency", "feedback", made, *given, "--target", "jetson-nano")
    assert (ended.code, ended.line.partition(": ")[2]) == (
        4,
        "is for x86-64-v3, and --target says jetson-nano",
    )
    bare = write_artifact(tmp_path)
    ended = tvmkd("latency", "feedback", bare, *given)
    assert ended.code == 4
    assert "does not hold its ONNX file: give the file that it was built from" in ended.line


def test_bad_input_is_one_line(
    tvmkd: Call, tmp_path: Path, fake_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, seen = tmp_path / "net.onnx", csv(tmp_path, 2.0)
    given = ["--records", fake_table, "--seen", seen]
    assert tvmkd("latency", "feedback", net, *given, "--over", "1").code == 2
    assert tvmkd("latency", "feedback", tmp_path / "no.onnx", *given).code == 4
    assert tvmkd("latency", "feedback", net, "--records", tmp_path / "no", "--seen", seen).code == 4
    seen.write_text("1\n2\n")
    assert "2 times were seen" in tvmkd("latency", "feedback", net, *given).line
    monkeypatch.setattr(FakeTable, "unit", "instructions")
    ended = tvmkd("latency", "feedback", net, *given)
    assert ended.code == 4
    assert "counts instructions" in ended.line
