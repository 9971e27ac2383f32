"""``tvmkd latency predict``, with a compiler that is made up."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_up_boards import HOST, World, install, kernel, write
from torch import nn

from tvmkd import models
from tvmkd.export import door
from tvmkd.search.latency.filling import fill


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A table of the kernels 1, 2 and 3."""
    world = World()
    install(monkeypatch, world)
    folder = tmp_path / "a table"
    with world.table(folder) as table:
        fill(table, [lambda: (write([1, 2, 3], tmp_path / "t.onnx"), None)], whole=1)
    return folder


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return write([1, 2, 2, 9], tmp_path / "n.onnx")


def test_a_file_is_predicted_in_lines(tvmkd: Any, records: Path, onnx: Path) -> None:
    done = tvmkd("latency", "predict", onnx, "--records", records, "--top", "2")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{onnx}: ")
    assert " us (9 of 10 between " in lines[0]
    assert lines[1].startswith("  1 of 3 kernels, ")
    assert len(lines) == 2 + 2 + 2
    assert lines[4] == "  and 1 more kernels"
    assert "2× k2" in done.out
    assert done.err == ""


def test_a_file_is_predicted_as_json(tvmkd: Any, records: Path, onnx: Path) -> None:
    done = tvmkd("latency", "predict", onnx, "--records", records, "--json")
    found = json.loads(done.out)
    assert found["unit"] == "s"
    assert 0 < found["low"] < found["seconds"] < found["high"]
    assert {each["name"]: each["source"] for each in found["kernels"]} == {
        "k1": "measured",
        "k2": "measured",
        "k9": "interpolated",
    }
    assert {each["key"] for each in found["kernels"]} == {kernel(n).key for n in (1, 2, 9)}


def test_sizes_that_were_assumed_are_said(
    tvmkd: Any, records: Path, onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = SimpleNamespace(path=onnx, assumptions=["N is free: N=1 is used"])
    monkeypatch.setattr(door, "admit", lambda *_: info)
    done = tvmkd("latency", "predict", onnx, "--records", records, "--json")
    assert done.err == "N is free: N=1 is used\n"
    assert json.loads(done.out)["unit"] == "s"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The names and arguments of models that are built; each has the kernels 1 and 3."""
    asked: list[Any] = []

    class Made(nn.Module):
        numbers = (1, 3)

    def build(spec: str, *, search_in: list[Path], **arguments: Any) -> nn.Module:
        asked.append((spec, arguments))
        return Made()

    monkeypatch.setattr(models, "build", build)
    return asked


@pytest.mark.parametrize(
    ("model", "shape", "given", "wanted"),
    [
        ("depthwise", "1x1x16x16", {}, {"channels": 1}),
        ("mobilevit", "1,3,32,32", {"width": 2}, {"channels": 3, "size": 32, "width": 2}),
        ("mobilevit", "1x3x32x32", {"size": 16}, {"channels": 3, "size": 16}),
        ("torchvision:resnet18", "1X3x8x8", {}, {}),
        ("timm:resnet10t", "1x1x8x8", {}, {"in_chans": 1}),
        ("mine:net", "4x7", {"a": [1]}, {"a": [1]}),
    ],
)
def test_a_model_needs_no_file(
    tvmkd: Any, records: Path, built: list[Any], model: str, shape: str, given: Any, wanted: Any
) -> None:
    arguments = ["--args", json.dumps(given)] if given else []
    done = tvmkd(
        *("latency", "predict", model, "--input-shape", shape, "--records", records),
        *arguments,
    )
    assert done.code == 0, done.err
    assert done.out.startswith(f"{model}: ")
    assert built == [(model, wanted)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["depthwise"], "depthwise: give --input-shape 1x3x224x224, or an ONNX file"),
        (["depthwise", "--input-shape", "1x3x"], '"1x3x" is no shape such as 1x3x224x224'),
        (["depthwise", "--input-shape", "1x0x4"], '"1x0x4" is no shape'),
        (["depthwise", "--args", "{"], "'{' is no JSON object such as {\"width\": 0.5}"),
        (["depthwise", "--args", "[1]"], "'[1]' is no JSON object"),
        (
            ["depthwise", "--input-shape", "1x1x8x8", "--dim", "N=1"],
            "depthwise: --dim and --shape are for ONNX files",
        ),
        (["ONNX", "--input-shape", "1x1x8x8"], "an ONNX file has no --args, and --shape gives"),
        (["ONNX", "--args", '{"width": 2}'], "an ONNX file has no --args"),
        (["ONNX", "--top", "-1"], "'--top'"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage(tvmkd: Any, records: Path, onnx: Path, options: list[str], said: str) -> None:
    given = [str(onnx) if word == "ONNX" else word for word in options]
    done = tvmkd("latency", "predict", *given, "--records", records)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


def test_bad_models(tvmkd: Any, records: Path, tmp_path: Path) -> None:
    text = tmp_path / "net.toml"
    text.write_text("no model")
    for model, shape, said in (
        (text, (), f"{text}: not an ONNX file"),
        (tmp_path / "none.onnx", (), "none.onnx: there is no such ONNX file"),
        ("depthwize", ("--input-shape", "1x1x8x8"), 'model "depthwize": not known'),
        ("depthwise", ("--input-shape", "1x1x8x8", "--args", '{"a": 1}'), "argument 'a'"),
        ("no_such_module:net", ("--input-shape", "1x4"), "no_such_module"),
    ):
        done = tvmkd("latency", "predict", model, *shape, "--records", records)
        assert done.code == 4, done.err
        assert said in done.line


def test_tables_that_cannot_be_used(tvmkd: Any, records: Path, onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, options, said in (
        (tmp_path / "none", (), "none: there is no such folder of a latency table"),
        (tmp_path / "empty", (), "empty: no kernel of this target has been measured; measure some"),
        (onnx, (), "n.onnx"),
        (records, ("--target", "jetson-nano"), f"for the target '{HOST.name}', not 'jetson-nano'"),
        (records, ("--stack", "relay"), "made by the stack 'relax', not 'relay'"),
    ):
        done = tvmkd("latency", "predict", onnx, "--records", folder, *options)
        assert done.code == 4, done.err
        assert said in done.line
    with (records / "networks.jsonl").open("a") as file:
        file.write("{}\n")
    done = tvmkd("latency", "predict", onnx, "--records", records)
    assert done.code == 4
    assert "networks.jsonl: {}… is no line of this file; remove it" in done.line
