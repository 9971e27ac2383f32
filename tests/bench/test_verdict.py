from __future__ import annotations

import numpy as np
import pytest
import samples

from tvmkd.bench import schema, verdict
from tvmkd.bench.verdict import decide, pair
from tvmkd.timing import stats


def _builds(*medians: float) -> list[schema.Build]:
    return [schema.Build(p50=ms, ci95=(ms, ms), round_sizes=[]) for ms in medians]


def test_a_clear_winner_is_named_with_its_interval() -> None:
    found = decide([samples.engine("slow", 1.5, seed=1), samples.engine("quick", 1.0, seed=2)])
    assert found.fastest == "quick"
    (against,) = found.pairs
    assert against.decided
    assert against.ci95[0] < 1.5 < against.ci95[1] or abs(against.ratio - 1.5) < 0.02
    assert found.sentence.startswith("quick is 1.5")
    assert "as fast as slow" in found.sentence


def test_the_same_engine_twice_is_level() -> None:
    decided = 0
    for seed in range(40):
        ours = samples.engine("a", 1.0, seed=2 * seed, drift=0.03)
        theirs = samples.engine("b", 1.0, seed=2 * seed + 1, drift=0.03)
        decided += pair(ours, theirs).decided
    # One in twenty may look decided by chance, and ten rounds make a bootstrap a little too sure.
    assert decided <= 6


def test_a_resolved_but_tiny_difference_is_not_a_win() -> None:
    exact = {"spread": 1e-4}
    found = decide(
        [samples.engine("a", 1.0, seed=1, **exact), samples.engine("b", 1.005, seed=2, **exact)]
    )
    assert not found.pairs[0].decided
    assert "a and b are level" in found.sentence
    assert "too close to choose by" in found.sentence


def test_level_engines_and_the_next_one() -> None:
    found = decide(
        [
            samples.engine("a", 1.0, seed=1),
            samples.engine("b", 1.0, seed=2),
            samples.engine("c", 3.0, seed=3),
        ]
    )
    assert "level" in found.sentence
    assert "within noise" in found.sentence
    assert "Next is c, at 3.0" in found.sentence


def test_one_engine_and_none() -> None:
    assert "nothing to compare with" in decide([samples.engine("a", 1.0)]).sentence
    assert decide([]).fastest is None


def test_a_win_that_another_build_would_undo_is_noise() -> None:
    slow = samples.engine("slow", 1.1, seed=1)
    built = samples.engine("built", 1.0, seed=2)
    assert pair(slow, built).decided
    apart = built.model_copy(update={"builds": _builds(0.95, 1.0, 1.09)})
    found = decide([slow, apart])
    assert not found.pairs[0].decided
    assert found.pairs[0].ratio == pair(slow, built).ratio
    assert "level" in found.sentence
    assert ", over 3 builds), within noise" in found.sentence
    alike = built.model_copy(update={"builds": _builds(0.995, 1.0, 1.003)})
    sentence = decide([slow, alike]).sentence
    assert sentence.startswith("built is 1.1")
    assert sentence.endswith(", over 3 builds).")


def _paired(patch: pytest.MonkeyPatch, **ratios: tuple[float, float, float]) -> None:
    """Replaces the statistics: engine name to ratio and interval."""
    found = {name: (ratio, (low, high)) for name, (ratio, low, high) in ratios.items()}
    asked = iter(found.values())
    patch.setattr(verdict, "ratio_ci", lambda ours, theirs: next(asked))


@pytest.mark.parametrize(
    ("ratio", "interval", "decided"),
    [
        (1.031, (1.001, 1.06), True),
        (1.029, (1.001, 1.06), False),
        (1.05, (0.999, 1.1), False),
        (0.96, (0.93, 0.999), True),
        (0.96, (0.93, 1.001), False),
        (0.98, (0.97, 0.99), False),
        (2.0, (1.9, 2.1), True),
    ],
)
def test_more_than_noise_and_more_than_level_is_decided(
    monkeypatch: pytest.MonkeyPatch, ratio: float, interval: tuple[float, float], decided: bool
) -> None:
    _paired(monkeypatch, a=(ratio, *interval))
    found = pair(samples.engine("a", 1.0), samples.engine("b", 1.0))
    assert (found.name, found.against, found.ratio) == ("a", "b", ratio)
    assert found.ci95 == pytest.approx(interval)
    assert found.decided is decided


def test_builds_of_both_engines_widen_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = [
        samples.engine(name, 1.0).model_copy(update={"builds": _builds(*medians)})
        for name, medians in (("a", (1.0, 1.1)), ("b", (1.0, 1.2)))
    ]
    _paired(monkeypatch, a=(1.5, 1.5, 1.5))
    errors = [stats.builds_error([1.0, 1.1]), stats.builds_error([1.0, 1.2])]
    low, high = pair(*engines).ci95
    assert np.log([low / 1.5, high / 1.5]) == pytest.approx([-np.hypot(*errors), np.hypot(*errors)])


def test_what_is_said_of_a_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    _paired(monkeypatch, b=(1.5, 1.4, 1.6), c=(2.0, 1.9, 2.1))
    engines = [samples.engine(name, ms) for name, ms in (("c", 2.0), ("a", 1.0), ("b", 1.5))]
    found = decide(engines)
    ours, theirs = engines[1].p50, engines[2].p50
    assert found.fastest == "a"
    assert [(item.name, item.against) for item in found.pairs] == [("b", "a"), ("c", "a")]
    assert found.sentence == (
        f"a is 1.50× as fast as b: {ours:.3g} ms against {theirs:.3g} ms "
        "(median; 95% CI of the ratio 1.40 to 1.60)."
    )


def test_what_is_said_of_level_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = [samples.engine(name, ms) for name, ms in (("a", 1.0), ("b", 1.01), ("c", 1.02))]
    engines.append(samples.engine("d", 3.0))
    _paired(monkeypatch, b=(1.01, 1.005, 1.02), c=(1.02, 0.9, 1.1), d=(3.0, 2.9, 3.1))
    found = decide(engines)
    assert (found.fastest, [item.name for item in found.pairs]) == ("a", ["b", "c", "d"])
    assert found.sentence == (
        "a, b and c are level: b / a = 1.010 (95% CI 1.005 to 1.020), too close to choose by. "
        "Next is d, at 3.00× the time."
    )
    _paired(monkeypatch, b=(1.01, 0.99, 1.02))
    assert decide(engines[:2]).sentence == (
        "a and b are level: b / a = 1.010 (95% CI 0.990 to 1.020), within noise."
    )


def test_what_is_said_of_one_engine_and_of_none() -> None:
    alone = samples.engine("a", 1.0)
    found = decide([alone])
    assert (found.fastest, found.pairs) == ("a", [])
    assert found.sentence == f"a takes {alone.p50:.3g} ms (median); nothing to compare with."
    assert decide([]).sentence == "No engine could be measured."


@pytest.mark.parametrize(("ours", "theirs"), [(3, 0), (0, 3), (3, 2)])
def test_the_most_builds_of_the_two_are_told(
    monkeypatch: pytest.MonkeyPatch, ours: int, theirs: int
) -> None:
    made = [
        samples.engine(name, ms).model_copy(update={"builds": _builds(*[ms] * count)})
        for name, ms, count in (("a", 1.0, ours), ("b", 2.0, theirs), ("c", 4.0, 5))
    ]
    _paired(monkeypatch, b=(2.0, 1.9, 2.1), c=(4.0, 3.9, 4.1))
    assert decide(made).sentence.endswith(", over 3 builds).")
    one = [made[2].model_copy(update={"name": "d", "p50": 0.5, "builds": _builds(1.0)}), made[1]]
    monkeypatch.undo()
    if theirs == 0:
        assert "builds" not in decide(one).sentence


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.02), (0.99, 1.0), (1.0, 1.0)])
def test_an_interval_that_touches_one_is_noise(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float
) -> None:
    level = schema.Pair(name="b", against="a", ratio=1.0, ci95=(low, high), decided=False)
    monkeypatch.setattr(verdict, "pair", lambda ours, theirs: level)
    found = decide([samples.engine("a", 1.0), samples.engine("b", 1.01)])
    assert found.sentence.endswith(", within noise.")


@pytest.mark.parametrize(
    ("ratio", "interval", "decided"),
    [
        (1.25, (1.125, 1.5), False),
        (1.375, (1.125, 1.5), True),
        (0.75, (0.5, 0.875), False),
        (0.625, (0.5, 0.875), True),
        (1.5, (1.0, 2.0), False),
        (0.5, (0.25, 1.0), False),
    ],
)
def test_just_the_level_and_an_interval_up_to_one_are_level(
    monkeypatch: pytest.MonkeyPatch, ratio: float, interval: tuple[float, float], decided: bool
) -> None:
    monkeypatch.setattr(verdict, "LEVEL", 0.25)
    # Its logarithms would round.
    monkeypatch.setattr(verdict, "widened", lambda ratio, interval, error: interval)
    _paired(monkeypatch, a=(ratio, *interval))
    assert pair(samples.engine("a", 1.0), samples.engine("b", 1.0)).decided is decided


def _started(name: str, *medians: float) -> schema.Engine:
    """An engine with a process of two rounds for each median; more samples in slower ones."""
    rounds = [[ms] * (100 if ms > 1 else 10) for ms in medians for _ in range(2)]
    flat = [value for one in rounds for value in one]
    return samples.engine(name, 1.0).model_copy(
        update={
            "samples_ms": flat,
            "round_sizes": [len(one) for one in rounds],
            "process_rounds": [2] * len(medians),
            "p50": stats.percentile(flat, 50),
        }
    )


def test_processes_weigh_the_same_and_the_fastest_is_the_denominator() -> None:
    even = _started("even", 0.95, 0.95, 0.95)
    mixed = _started("mixed", 1.5, 0.5, 0.5)
    assert even.p50 < mixed.p50, "by its many samples of one process"
    (against,) = decide([even, mixed]).pairs
    assert (against.name, against.against) == ("even", "mixed")
    assert against.ratio == pytest.approx(0.95 / (1.5 * 0.5 * 0.5) ** (1 / 3))
    assert not against.decided
    slow = _started("slow", 2.0, 2.0, 2.01)
    found = decide([slow, even])
    assert found.pairs[0].decided
    assert found.sentence.startswith("even is 2.1")


def test_engines_with_other_numbers_of_processes_are_compared_by_rounds() -> None:
    ours, theirs = _started("a", 1.0, 1.0), samples.engine("b", 1.0, seed=1)
    theirs = theirs.model_copy(
        update={"samples_ms": [1.0] * 40, "round_sizes": [10] * 4, "p50": 1.0}
    )
    assert pair(ours, theirs).ratio == 1.0


def test_of_equal_medians_the_first_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _paired(monkeypatch, b=(1.0, 0.9, 1.1))
    engines = [samples.engine(name, 1.0) for name in "ab"]
    found = decide(engines)
    assert (found.fastest, [item.name for item in found.pairs]) == ("a", ["b"])
    assert found.sentence.startswith("a and b are level: b / a = 1.000 ")


def test_the_rounds_of_both_engines_are_compared_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[object, object]] = []

    def ratio(ours: object, theirs: object) -> tuple[float, tuple[float, float]]:
        asked.append((ours, theirs))
        return 2.0, (1.9, 2.1)

    monkeypatch.setattr(verdict, "ratio_ci", ratio)
    ours, theirs = samples.engine("a", 2.0, seed=1), samples.engine("b", 1.0, seed=2)
    pair(ours, theirs)
    assert asked == [(ours.rounds(), theirs.rounds())]
    # The other engine is always above the fastest.
    decide([ours, theirs])
    assert asked[1] == asked[0]
