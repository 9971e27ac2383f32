from __future__ import annotations

import samples

from tvmkd.bench import schema
from tvmkd.bench.verdict import decide, pair


def _builds(*medians: float) -> list[schema.Build]:
    return [schema.Build(p50=ms, ci95=(ms, ms), round_sizes=[]) for ms in medians]


def test_a_clear_winner_is_named_with_its_interval() -> None:
    verdict = decide([samples.engine("slow", 1.5, seed=1), samples.engine("quick", 1.0, seed=2)])
    assert verdict.fastest == "quick"
    (against,) = verdict.pairs
    assert against.decided
    assert against.ci95[0] < 1.5 < against.ci95[1] or abs(against.ratio - 1.5) < 0.02
    assert verdict.sentence.startswith("quick is 1.5")
    assert "as fast as slow" in verdict.sentence


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
    verdict = decide(
        [samples.engine("a", 1.0, seed=1, **exact), samples.engine("b", 1.005, seed=2, **exact)]
    )
    assert not verdict.pairs[0].decided
    assert "a and b are level" in verdict.sentence
    assert "too close to choose by" in verdict.sentence


def test_level_engines_and_the_next_one() -> None:
    verdict = decide(
        [
            samples.engine("a", 1.0, seed=1),
            samples.engine("b", 1.0, seed=2),
            samples.engine("c", 3.0, seed=3),
        ]
    )
    assert "level" in verdict.sentence
    assert "within noise" in verdict.sentence
    assert "Next is c, at 3.0" in verdict.sentence


def test_one_engine_and_none() -> None:
    assert "nothing to compare with" in decide([samples.engine("a", 1.0)]).sentence
    assert decide([]).fastest is None


def test_a_win_that_another_build_would_undo_is_noise() -> None:
    slow = samples.engine("slow", 1.1, seed=1)
    built = samples.engine("built", 1.0, seed=2)
    assert pair(slow, built).decided
    apart = built.model_copy(update={"builds": _builds(0.95, 1.0, 1.09)})
    verdict = decide([slow, apart])
    assert not verdict.pairs[0].decided
    assert verdict.pairs[0].ratio == pair(slow, built).ratio
    assert "level" in verdict.sentence
    assert ", over 3 builds), within noise" in verdict.sentence
    alike = built.model_copy(update={"builds": _builds(0.995, 1.0, 1.003)})
    sentence = decide([slow, alike]).sentence
    assert sentence.startswith("built is 1.1")
    assert sentence.endswith(", over 3 builds).")
