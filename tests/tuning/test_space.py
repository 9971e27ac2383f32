from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tvmkd.tuning.space import candidate_key, plain

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
