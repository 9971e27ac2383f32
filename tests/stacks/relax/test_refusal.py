"""The one-line error for a model that TVM cannot import."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tvmkd.base.errors import InputError, MissingError

pytest.importorskip("tvm", reason="this TVM is not installed")

from tvmkd.stacks.relax.refusal import advice, refusal, unknown

PATH = Path("folder/model.onnx")


def _construct_nodes(node: object, error: Exception) -> None:
    """Raises from a frame like that of TVM's importer."""
    raise error


def raised(error: Exception, **node: object) -> Exception:
    entry = SimpleNamespace(**{"op_type": "Resize", "name": "up", "output": ["y"], **node})
    with pytest.raises(type(error)) as caught:
        _construct_nodes(entry, error)
    return caught.value


def test_the_operator_and_its_node_are_named() -> None:
    found = refusal(PATH, raised(ValueError("mode cubic")))
    assert isinstance(found, InputError)
    text = str(found)
    assert text.startswith("folder/model.onnx: TVM ")
    assert 'cannot import Resize (node "up"): mode cubic; rewrite this part' in text


def test_a_node_without_a_name_is_named_by_its_output() -> None:
    assert 'Resize (node "y")' in str(refusal(PATH, raised(ValueError("x"), name="")))


def test_scripts_and_notes_of_tvm_are_left_out() -> None:
    script = (
        "# from tvm.script import ir as I\n\nfrom tvm import x\nCheck failed: a == b (1 vs. 2)\n"
    )
    text = str(refusal(PATH, raised(RuntimeError(script + "def main():\n" * 50))))
    assert "Check failed: a == b (1 vs. 2);" in text
    assert "\n" not in text


@pytest.mark.parametrize("error", [RuntimeError("long " * 500), KeyError("x" * 900)])
def test_a_long_reason_is_cut(error: Exception) -> None:
    assert len(str(refusal(PATH, raised(error, name="n" * 500)))) <= 300


@pytest.mark.parametrize(
    ("error", "text"),
    [(KeyError("num_heads"), "KeyError: 'num_heads'"), (ValueError(), "ValueError")],
)
def test_an_error_without_a_sentence_says_its_class(error: Exception, text: str) -> None:
    assert f": {text}; " in str(refusal(PATH, raised(error)))


def test_outside_of_a_node_the_model_is_named() -> None:
    assert "cannot import it: bad" in str(refusal(PATH, ValueError("bad")))


def test_an_error_of_ours_stays_as_it_is() -> None:
    error = MissingError("no board")
    assert refusal(PATH, error) is error


def test_the_other_stack_is_named_where_it_has_the_operator() -> None:
    assert "--stack relay" in advice("NonMaxSuppression")
    assert "--stack" not in advice("Resize")


def test_a_node_without_a_plain_form_is_refused_though_the_importer_knows_it() -> None:
    from onnx import helper

    node = helper.make_node("Dropout", ["x", "r", "t"], ["y"])
    model = helper.make_model(helper.make_graph([node], "net", [], []))
    info = SimpleNamespace(reasons={"y": "Dropout has training_mode=1", "z": "Relu is odd"})
    wanted = (
        'folder/model.onnx: Dropout (node "y") has training_mode=1: rewrite this part of the model'
    )
    assert unknown(PATH, model, info, {"Dropout"}) == wanted
    info.reasons = {"y": "Relu is odd"}
    assert unknown(PATH, model, info, {"Dropout"}) is None
