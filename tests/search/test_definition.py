from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import spaces

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.search.definition import read

NET = "def net(size, parts=(1, 2)):\n    raise ValueError\n"


def applying(space: dict[str, Any], **sections: Any) -> dict[str, dict[str, set[str]]]:
    """The needs of each parameter, by name."""
    found, _ = read(spaces.parse(space, **sections), 8, [])
    return {each.name: {k: set(v) for k, v in each.needs.items()} for each in found}


def test_a_parameter_depends_on_the_models_that_have_it() -> None:
    found = applying(
        {
            "width": [0.5, 1.0],
            "student.args.patch": [2, 4],
            "student.args.width_mult": [0.5],
            "student.args.stem": {"choices": [8, 16], "only": "depthwise"},
            "distill.lr": {"choices": [0.1, 0.2], "only": ["mlp"]},
            "model": ["depthwise", "mlp", "torchvision:mobilenet_v2"],
        }
    )
    assert next(iter(found)) == "model"
    assert found["width"] == {"model": {'"depthwise"', '"mlp"'}}
    assert found["student.args.patch"] == found["distill.lr"] == {"model": {'"mlp"'}}
    assert found["student.args.width_mult"] == {"model": {'"torchvision:mobilenet_v2"'}}
    assert found["student.args.stem"] == {"model": {'"depthwise"'}}
    assert applying({"width": [1, 2]})["width"] == {}


def test_a_key_of_an_optional_section_depends_on_it() -> None:
    found = applying(
        {
            "quantize.keep_fp32": [[], ["head"]],
            "prune.lr": [0.1, 0.2],
            "early_exit.weight": [0.5, 1.0],
            "export.keep_fp32": [[], ["head"]],
            "precision": ["fp32", "fp16", "int8"],
            "prune": [0, 0.5],
            "exits": [False, ["features.3"]],
        }
    )
    assert list(found)[:3] == ["precision", "exits", "prune"]
    assert found["quantize.keep_fp32"] == {"precision": {'"int8"'}}
    assert found["export.keep_fp32"] == {"precision": {'"fp16"'}}
    assert found["prune.lr"] == {"prune": {"0.5"}}
    assert found["early_exit.weight"] == {"exits": {'["features.3"]'}}
    int8 = {"quantize": {}, "export": {"precision": "int8"}}
    assert applying({"quantize.keep_fp32": [[], ["head"]]}, **int8) == {"quantize.keep_fp32": {}}


def test_what_is_not_done_to_user_code_depends_on_the_model() -> None:
    found = applying(
        {
            "model": ["mlp", "json:dumps"],
            "prune": [0, 0.5],
            "precision": ["fp32", "int8"],
            "exits": [False, [0.5]],
            "distill.lr": [0.1, 0.2],
        }
    )
    for name in ("prune", "precision", "exits"):
        assert found[name] == {"model": {'"mlp"'}}
    assert found["distill.lr"] == {}
    both = applying({"model": ["mlp", "json:dumps"], "precision": ["fp32", "fp16"]})
    assert both["precision"] == {}


def test_a_value_for_each_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "staged_net.py").write_text(NET)
    parts = {"choices": [1, 2], "per_stage": 2}
    found, _ = read(
        spaces.parse({"student.args.parts": parts}, student={"model": "staged_net:net"}), 8, []
    )
    assert [(each.name, each.index) for each in found] == [
        ("student.args.parts.0", 0),
        ("student.args.parts.1", 1),
    ]
    models = ["depthwise", "bottleneck"]
    staged = applying({"width": {"choices": [1, 2], "per_stage": True}, "model": models})
    assert list(staged) == ["model", "width.0", "width.1", "width.2", "width.3"]
    assert staged["width.2"] == {}
    assert staged["width.3"] == {"model": {'"bottleneck"'}}


@pytest.mark.parametrize(
    ("space", "sections", "message"),
    [
        (
            {"student.args.widht": [1]},
            {},
            'student.args.widht: depthwise has no argument widht; did you mean "width"',
        ),
        ({"model": ["depthwize"]}, {}, 'model "depthwize": not known; did you mean "depthwise"'),
        ({"model": ["no_such_module:f"]}, {}, "there is no module no_such_module"),
        (
            {"quantize.lr": [1, 2]},
            {},
            "search.space.quantize.lr: no network has this key: give pre",
        ),
        (
            {"quantize.lr": [1, 2], "precision": ["fp16"]},
            {},
            "search.space.quantize.lr: no value of precision has this key",
        ),
        (
            {"student.args.patch": {"choices": [1, 2], "per_stage": True}},
            {"student": {"model": "mlp"}},
            "student.args.patch: per_stage = true is for models whose stages are known",
        ),
        (
            {"prune": [0, 0.5]},
            {"student": {"model": "json:dumps"}},
            "search.space.prune: is for models of tvmkd, torchvision and timm, not json:dumps",
        ),
        (
            {"student.args.depth": {"low": 1.0, "high": 2.0, "channels": "efficient"}},
            {"student": {"model": "torchvision:resnet18"}},
            'channels = "efficient" needs a model with an argument multiple',
        ),
    ],
)
def test_what_no_space_may_have(
    space: dict[str, Any], sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read(spaces.parse(space, **sections), 8, [])


def test_a_file_without_a_space() -> None:
    with pytest.raises(InputError, match=r"there is no \[search.space\]"):
        read(config.parse({"project": {"name": "a"}}), 8, [])
