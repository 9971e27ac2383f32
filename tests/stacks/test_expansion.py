"""Which values are stored, by hand and on random graphs."""

from __future__ import annotations

import random

import pytest

from tvmkd.stacks.expansion import LIMIT, Step, to_store


def diamonds(count: int) -> list[Step]:
    """``t = t + tanh(t * t - 0.5)``, ``count`` times."""
    steps = []
    for number in range(count):
        t = f"t{number}"
        steps += [
            Step(f"m{number}", {t: 2}),
            Step(f"s{number}", {f"m{number}": 1}),
            Step(f"h{number}", {f"s{number}": 1}),
            Step(f"t{number + 1}", {t: 1, f"h{number}": 1}),
        ]
    return steps


def again(steps: list[Step], stored: set[str]) -> int:
    """The most operations that a step computes more than once, by plain recursion."""
    known = {step.name: step for step in steps}

    def inlined(step: Step) -> list[str]:
        parts = [step.name]
        for name, count in step.reads.items():
            if name in known and name not in stored:
                parts += inlined(known[name]) * count
        return parts

    return max(
        sum(known[n].operations for n in parts) - sum(known[n].operations for n in set(parts))
        for parts in map(inlined, steps)
    )


def test_three_diamonds_are_small_enough_and_more_are_cut() -> None:
    assert to_store(diamonds(3)) == set()
    assert to_store(diamonds(6)) == {"t2", "t4"}
    assert len(to_store(diamonds(100))) < 50
    assert all(name.startswith("t") for name in to_store(diamonds(100)))


def test_a_long_chain_is_left_alone() -> None:
    chain = [Step(f"v{i}", {f"v{i - 1}": 1, "other": 3}) for i in range(300)]
    assert to_store(chain) == set()
    # A value that is read twice at its end is one repetition of the chain.
    assert to_store([*chain, Step("end", {"v299": 2})]) == {"v299"}
    assert to_store([*chain[:50], Step("end", {"v49": 2})]) == set()


def test_what_is_no_step_is_stored_already() -> None:
    steps = [Step(f"a{i}", {f"convolution{i}": 100}) for i in range(100)]
    assert to_store(steps) == set()


def test_one_reader_may_be_enough() -> None:
    """A resize reads its input sixteen times for each element."""
    steps = [Step("a", {"x": 1}, operations=10), Step("resized", {"a": 16})]
    assert to_store(steps) == {"a"}
    assert to_store([Step("a", {"x": 1}), Step("resized", {"a": 16})]) == set()


@pytest.mark.parametrize("seed", range(20))
def test_no_random_graph_grows_beyond_the_limit(seed: int) -> None:
    rng = random.Random(seed)
    steps: list[Step] = []
    for number in range(60):
        near = [step.name for step in steps[-rng.choice([1, 2, 5]) :]] or ["x"]
        reads = {rng.choice(near): rng.choice([1, 1, 2, 3]) for _ in range(rng.choice([1, 2, 2]))}
        steps.append(Step(f"v{number}", reads, rng.choice([1, 1, 4])))
    limit = rng.choice([8, LIMIT])
    stored = to_store(steps, limit)
    assert again(steps, stored) <= limit
    assert len(stored) < len(steps) / 2
