from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tvmkd.tuning.space import Task, candidate_key, plain, union

LEAVES = st.one_of(
    st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=8)
)
TRACES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4), max_leaves=20)


@given(TRACES)
def test_the_key_survives_a_file(trace: object) -> None:
    assert candidate_key(json.loads(json.dumps(trace))) == candidate_key(trace)


def test_numbers_alike_make_one_key_and_different_traces_two() -> None:
    assert candidate_key([["Split", [1, True]]]) == candidate_key([["Split", [1.0, 1]]])
    assert candidate_key([["Split", [1, 2]]]) != candidate_key([["Split", [2, 1]]])
    assert candidate_key([["1"]]) != candidate_key([[1]])


def test_plain_unwraps_values() -> None:
    class Imm:
        value = 3

    assert plain([Imm(), ("a", None), {"k": Imm()}]) == [3, ["a", None], {"k": 3}]


def _task(key: str, weight: float, flop: float = 1.0) -> Task:
    return Task(key, key, None, None, weight, flop, "conv2d")  # type: ignore[arg-type]


def test_tasks_of_several_models_are_one_each() -> None:
    found = union([[_task("a", 1, 2.0), _task("b", 1, 5.0)], [_task("b", 2, 5.0)]], None)
    assert [(task.key, task.weight) for task in found] == [("b", 3), ("a", 1)]


def test_weights_replace_the_models_and_leave_tasks_out() -> None:
    groups = [[_task("a", 1), _task("b", 9)], [_task("c", 1), _task("b", 9)]]
    found = union(groups, {"b": 0.5, "c": 2.0, "unknown": 7.0})
    assert [(task.key, task.weight) for task in found] == [("c", 2.0), ("b", 0.5)]
