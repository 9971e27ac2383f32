"""Files that ONNX Runtime cannot load are replaced by an equivalent model, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import Unloadable, open_session
from tvmkd.export import stand_in as module
from tvmkd.export.check import check
from tvmkd.export.door import admit
from tvmkd.export.stand_in import older, stand_in

# Tests of ONNX's own: their last versions differ in the types that they take.
DEQUANTIZE = """<ir_version: 10, opset_import: ["" : 28]>
    g (int8[2, 3] x) => (float[2, 3] y) <float scale = {0.5}, int8 zero = {3}> {
        y = DequantizeLinear(x, scale, zero)
    }"""
# ONNX Runtime has no recurrent operator with the batch first.
BATCH_FIRST = """<ir_version: 8, opset_import: ["" : 14]>
    g (float[2, 3, 4] x) => (float[2, 3, 1, 5] y, float[2, 1, 5] h) {
        w = Constant<value = float[1, 5, 4] {WEIGHT}>()
        r = Constant<value = float[1, 5, 5] {AGAIN}>()
        y, h = RNN<hidden_size = 5, layout = 1>(x, w, r)
    }"""


def batch_first() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    text = BATCH_FIRST
    for name, count in (("WEIGHT", 20), ("AGAIN", 25)):
        text = text.replace(name, ", ".join(f"{v:.3f}" for v in rng.standard_normal(count)))
    return onnx.parser.parse_model(text)


def found(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto | None:
    path = folder / "m.onnx"
    onnx.save(model, path)
    return stand_in(path, model, check(path))


def test_an_operator_set_is_older_as_long_as_only_types_differ() -> None:
    model = onnx.parser.parse_model(DEQUANTIZE)
    versions = [each.opset_import[0].version for each in older(model)]
    # From version 23 on it takes the type of its output.
    assert versions == list(range(27, 22, -1))
    assert model.opset_import[0].version == 28
    assert list(older(onnx.parser.parse_model(DEQUANTIZE.replace("28", "13")))) == []


def test_a_newer_operator_set_gives_way_to_the_newest_that_can_be_loaded(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(DEQUANTIZE)
    with pytest.raises(Unloadable):
        open_session(model.SerializeToString())
    made = found(model, tmp_path)
    assert made is not None
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    (got,) = open_session(made.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(got, (x - 3) * 0.5)
    assert list(made.graph.node) == list(model.graph.node)


def test_an_operator_that_is_not_there_at_all_becomes_plain_ones(tmp_path: Path) -> None:
    model = batch_first()
    made = found(model, tmp_path)
    assert made is not None
    assert "RNN" not in {node.op_type for node in made.graph.node}
    assert [each.name for each in made.graph.output] == ["y", "h"]


def test_a_form_that_computes_something_else_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.parser.parse_model(DEQUANTIZE)
    wrong = onnx.parser.parse_model(DEQUANTIZE.replace("28", "23").replace("0.5", "0.51"))
    right = onnx.parser.parse_model(DEQUANTIZE.replace("28", "23"))

    def forms(*_: object) -> Iterator[onnx.ModelProto]:
        yield from (wrong, right)

    monkeypatch.setattr(module, "_forms", forms)
    made = found(model, tmp_path)
    assert made is right
    monkeypatch.setattr(module, "_forms", lambda *_: iter([wrong]))
    assert found(model, tmp_path) is None


def test_what_the_evaluator_cannot_run_has_no_other_form(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 18, "mine" : 1]>
        g (float[2] x) => (float[2] y) { y = mine.Strange(x) }"""
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(DEQUANTIZE), path)
    assert stand_in(path, onnx.parser.parse_model(text), check(path)) is None


@pytest.mark.parametrize("model", [onnx.parser.parse_model(DEQUANTIZE), batch_first()])
def test_the_door_takes_the_other_form_in_place_of_the_file(
    tmp_path: Path, model: onnx.ModelProto
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    (tmp_path / "work").mkdir()
    info = admit(path, None, tmp_path / "work")
    assert info.path == path
    assert info.opset == model.opset_import[0].version
    assert info.stand_in is not None
    assert info.runnable == info.stand_in != path
    open_session(info.runnable)
    open_session(info.compiled)
    assert info.to_dict()["stand_in"] == str(info.stand_in)


def test_a_file_with_no_other_form_is_refused_with_the_reason(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 22, "com.microsoft" : 1]>
        g (float[2] x) => (float[2] y) { y = com.microsoft.Strange(x) }"""
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    (tmp_path / "work").mkdir()
    with pytest.raises(InputError, match=r"m\.onnx: ONNX Runtime cannot load it: .*Strange"):
        admit(path, None, tmp_path / "work")
