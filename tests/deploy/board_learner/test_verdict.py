from __future__ import annotations

from math import comb

import pytest

from tvmkd.deploy.board_learner.verdict import reason_against, tail


def verdict(max_forgetting: float = 0.1, max_contradiction: float = 0.5, **more: int) -> str:
    """Of 160 shipped, 40 learned and 20 new held-back examples; ``new_won`` and so on are given."""
    found = dict.fromkeys(("old_won", "old_lost", "new_won", "new_lost", "sure", "contradicted"), 0)
    found.update(guard=160, guard_shipped=158, fresh=40, fresh_before=30, fresh_after=30, new=20)
    found.update(more)
    found.setdefault("guard_after", 158 + found["old_won"] - found["old_lost"])
    found.update(new_before=5, new_after=5 + found["new_won"] - found["new_lost"])
    return reason_against(found, max_forgetting, max_contradiction).partition(":")[0]


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_the_tail_of_a_binomial(share: float) -> None:
    for trials, least in ((1, 1), (8, 7), (12, 0), (12, 13), (39, 30)):
        exact = sum(
            comb(trials, k) * share**k * (1 - share) ** (trials - k)
            for k in range(least, trials + 1)
        )
        assert tail(trials, least, share) == pytest.approx(exact, rel=1e-12, abs=0)


def test_tails_without_chance() -> None:
    assert [tail(0, 0, 0.5), tail(9, 9, 1.0), tail(9, 0, 0.0), tail(9, 1, 0.0)] == [1, 1, 1, 0]
    assert tail(5000, 4000, 0.5) == pytest.approx(0, abs=1e-300)
    assert tail(5000, 2500, 0.5) == pytest.approx(0.5056, abs=1e-4)


def test_nothing_is_lost() -> None:
    assert verdict(new_won=1) == ""
    assert verdict() == verdict(new_won=2, new_lost=2) == "no gain"
    assert verdict(new_won=1, old_won=4, old_lost=4) == ""


def test_limits_of_forgetting() -> None:
    assert verdict(new_won=15, old_lost=16) == ""
    assert verdict(new_won=15, old_lost=17) == "forgets"
    assert verdict(1.0, new_won=1, old_lost=90) == ""
    assert verdict(new_won=15, fresh_after=26) == ""
    assert verdict(new_won=15, fresh_after=25) == "forgets"


@pytest.mark.parametrize(
    ("won", "lost", "said"),
    [
        (1, 1, ""),  # both may be chance, and are as likely
        (1, 2, "costs more than it gains"),  # 1/2 and 1/4
        (3, 3, ""),
        (4, 5, "costs more than it gains"),  # 1/16 and 1/32
        (5, 7, ""),  # 1/32: the gain is not chance
        (1, 7, "costs more than it gains"),  # wrong labels of the benchmark
    ],
)
def test_a_loss_has_to_be_paid_for(won: int, lost: int, said: str) -> None:
    assert verdict(new_won=won, old_lost=lost) == said


def test_losses_and_gains_are_shares_of_their_sets() -> None:
    many = {"guard": 60, "guard_shipped": 60, "fresh": 0, "guard_after": 60, "old_lost": 14}
    assert verdict(new_won=5, **many) == ""  # 5 of 20, and 14 of 60
    many["old_lost"] = 15
    assert verdict(new_won=5, **many) == "costs more than it gains"


def test_labels_that_contradict() -> None:
    assert verdict(new_won=9, sure=4, contradicted=4) == ""  # 1/16
    assert verdict(new_won=9, sure=5, contradicted=5) == "labels"
    assert verdict(new_won=9, sure=100, contradicted=58) == ""
    assert verdict(new_won=9, sure=100, contradicted=59) == "labels"
    assert verdict(0.1, 0.0, new_won=9, sure=100, contradicted=1) == "labels"
    assert verdict(0.1, 1.0, new_won=9, sure=100, contradicted=100) == ""
