from __future__ import annotations

from typing import Any

import pytest

from tvmkd import config
from tvmkd.base.errors import InputError


def distill(**section: Any) -> config.Distill:
    return config.parse({"project": {"name": "a"}, "distill": section}).distill


def test_a_structure_is_learnt_only_with_a_table_and_a_weight() -> None:
    assert not distill().shaped
    assert not distill(latency_weight=0.5).shaped
    assert not distill(latency="table").shaped
    assert distill(latency="table", latency_weight=0.5).shaped


def test_the_budget_of_a_watch_is_a_time() -> None:
    assert distill().limit is None
    for text in ("8ms", "8", 8, 8.0, "8000us"):
        found = distill(watch=text).limit
        assert found is not None
        assert (found.value, found.unit) == (8.0, "ms")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"watch": "12M"}, "distill.watch: wants a latency such as 8ms"),
        ({"watch": "soon"}, "distill.watch: wants a latency such as 5ms"),
        (
            {"latency": "tabel"},
            'there is no latency model "tabel"; did you mean "table"',
        ),
        ({"latency": "torchvision:resnet18"}, "distill.latency: .*known: macs, table; or give"),
        ({"table": "t"}, 'table has no effect without latency = "table"'),
        ({"shaping": 0.2}, 'shaping has no effect without latency = "table"'),
        ({"latency": "table", "shape": []}, "distill.shape: .*at least 1"),
        ({"latency": "table", "shape": ["width", "width"]}, "shape names something twice"),
        ({"latency": "table", "shape": ["height"]}, "distill.shape.0: .*'width' or 'depth'"),
        ({"latency": "table", "shaping": 1.0}, "distill.shaping: .*less than 1"),
        ({"latency": "table", "latency_weight": 1, "epochs": 1}, "needs 2 epochs or more"),
    ],
)
def test_what_cannot_be_shaped_or_watched_is_one_line(
    section: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        distill(**section)
    assert "\n" not in str(caught.value)


def teacher(**section: Any) -> config.Teacher:
    return config.parse({"project": {"name": "a"}, "teacher": section}).teacher


def test_members_of_an_ensemble_have_what_they_do_not_say_from_the_teacher() -> None:
    given = {"checkpoint": "b.pt"}
    section = teacher(
        args={"depth": 2},
        checkpoint="a.pt",
        ensemble=[{}, given, {"model": "mlp"}, {"args": {"depth": 3}}],
        assistants=[{"model": "mlp"}],
    )
    found = section.members
    assert [one.model for one in found] == ["residual", "residual", "residual", "mlp", "residual"]
    assert [one.args for one in found] == [{"depth": 2}] * 3 + [{}, {"depth": 3}]
    files = [str(one.checkpoint) for one in found]
    assert files == ["a.pt", "None", "b.pt", "None", "None"]
    assert not any(one.ensemble or one.assistants for one in found)
    assert section.specs == [one.model for one in found] + ["mlp"]
    assert teacher().members == [teacher()]


def test_a_teacher_stops_after_a_share_of_its_epochs() -> None:
    assert teacher().last is None
    assert [teacher(epochs=9, stop_at=share).last for share in (0.01, 0.5, 0.9)] == [1, 4, 8]
    # All of them is no stop, and has the identity of none.
    assert teacher(epochs=9, stop_at=0.99).last is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"stop_at": 0}, "teacher.stop_at: .*greater than 0"),
        ({"stop_at": 0.5, "checkpoint": "a.pt"}, "stop_at is for a teacher that is trained"),
        ({"average": "probabilities"}, "average has no effect without"),
        ({"ensemble": [{"modle": "mlp"}]}, 'unknown key "teacher.ensemble.0.modle"; did you mean'),
        ({"assistants": [{"epochs": 3}]}, '"teacher.assistants.0.model" is missing'),
    ],
)
def test_what_no_teacher_can_be_is_one_line(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        teacher(**section)


def test_branches_need_a_training() -> None:
    with pytest.raises(InputError, match="student: reparam has no effect with a checkpoint"):
        config.parse({"project": {"name": "x"}, "student": {"checkpoint": "a.pt", "reparam": 2}})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"momentum": 0.5}, 'momentum has no effect with optimizer = "adamw"'),
        ({"optimizer": "sgd", "delta": 0.05}, 'delta has no effect with optimizer = "sgd"'),
        ({"optimizer": "dot", "delta": 0.1}, "momenta outside of 0 to 1"),
        ({"optimizer": "dot", "momentum": 0.05, "delta": 0.07}, "momenta outside of 0 to 1"),
        ({"optimizer": "dot", "loss": "ce"}, 'no teacher, and optimizer = "dot" needs one'),
        ({"optimizer": "dot", "latency": "table", "latency_weight": 1}, "do not go together"),
        ({"optimizer": "adam"}, "distill.optimizer: .*'adamw', 'sgd' or 'dot'"),
    ],
)
def test_momenta_that_cannot_be_are_one_line(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        distill(**section)
