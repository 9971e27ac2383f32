from __future__ import annotations

import functools

from tvmkd.timing.rounds import in_order, interleave


def test_every_other_round_is_reversed() -> None:
    assert ["".join(in_order("abc", turn)) for turn in range(4)] == ["abc", "cba", "abc", "cba"]
    assert list(in_order(range(2), 1)) == [1, 0]
    assert list(in_order([], 1)) == []


def test_each_contestant_keeps_its_results_whatever_the_order() -> None:
    called: list[str] = []

    def call(name: str) -> str:
        called.append(name)
        return f"{name}{called.count(name)}"

    found = interleave([functools.partial(call, name) for name in "abc"], 4)
    assert "".join(called) == "abccbaabccba"
    assert found == [[f"{name}{number}" for number in (1, 2, 3, 4)] for name in "abc"]
    assert interleave([functools.partial(call, "a")], 0) == [[]]
