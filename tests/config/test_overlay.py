from __future__ import annotations

from typing import Any

import pytest

from tvmkd.config import Config
from tvmkd.config.overlay import SHORT, Overlay

OVERLAY = Overlay(Config)


def test_short_names_and_paths() -> None:
    for name, path in SHORT.items():
        assert OVERLAY.path_of(name) == path
    for path in ("distill.lr", "student.args.blocks", "distill.loss_args.p.q", "data.camera.skew"):
        assert OVERLAY.path_of(path) == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("widht", 'is no key of a tvmkd.toml; did you mean "width"'),
        ("distill.temprature", 'did you mean "distill.temperature"'),
        ("qqq", "known: model, width"),
        ("student", "is no key"),
        ("student.args.", "is no key"),
        ("distill.lr.x", "is no key"),
        ("target.name", "is the same for all networks"),
        ("project.seed", "is the same for all networks"),
        ("search.trials", "is the same for all networks"),
        ("data.split_seed", "networks could not be compared"),
    ],
)
def test_what_no_parameter_may_be(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OVERLAY.path_of(name)


@pytest.mark.parametrize(
    ("data", "values", "result"),
    [
        (
            {"student": {"args": {"stem": 8}}},
            {"student.args.width": 0.5, "student.model": "mlp"},
            {"student": {"args": {"stem": 8, "width": 0.5}, "model": "mlp"}},
        ),
        ({}, {"student.args.squeeze": False}, {"student": {"args": {"squeeze": False}}}),
        ({}, {"distill.baseline": False}, {"distill": {"baseline": False}}),
        ({"student": {"images": 9}}, {"student.images": False}, {"student": {}}),
        ({}, {"early_exit.exits": ["a"]}, {"early_exit": {"exits": ["a"]}}),
        ({"early_exit": {"exits": ["a"]}}, {"early_exit.exits": False}, {}),
        (
            {"prune": {"steps": 4, "lr": 1.0}},
            {"prune.ratio": 0.5},
            {"prune": {"steps": 1, "lr": 1.0, "ratio": 0.5, "max_drop": 1.0}},
        ),
        ({"prune": {"steps": 4}}, {"prune.ratio": 0.0}, {}),
        ({}, {"export.precision": "int8"}, {"export": {"precision": "int8"}, "quantize": {}}),
        (
            {},
            {"quantize.keep_fp32": ["head"], "export.precision": "int8"},
            {"export": {"precision": "int8"}, "quantize": {"keep_fp32": ["head"]}},
        ),
        (
            {"quantize": {}, "export": {"precision": "fp16", "keep_fp32": ["head"]}},
            {"export.precision": "fp32"},
            {"export": {"precision": "fp32"}},
        ),
    ],
)
def test_values_are_put_into_the_data(
    data: dict[str, Any], values: dict[str, Any], result: dict[str, Any]
) -> None:
    OVERLAY.put(data, values)
    assert data == result


def test_a_path_through_a_value_is_refused() -> None:
    data: dict[str, Any] = {"student": {"args": {"blocks": [1, 2]}}}
    with pytest.raises(ValueError, match=r"student.args.blocks.0: blocks is \[1, 2\] in the file"):
        OVERLAY.put(data, {"student.args.blocks.0": 3})
