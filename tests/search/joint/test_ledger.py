"""What is charged, once, and what is left."""

from __future__ import annotations

import pytest

from tvmkd.base.errors import UsageError
from tvmkd.search.joint.ledger import Ledger


def test_charges_by_what_it_was_for() -> None:
    ledger = Ledger(10.0, 3)
    ledger.charge_board("rounds", 4.0)
    ledger.charge_board("last front", 1.5)
    ledger.charge_board("rounds", 0.5)
    assert ledger.board_spent == 6.0
    assert ledger.board_left == 4.0
    assert ledger.summary() == {
        "board seconds, rounds": 4.5,
        "board seconds, last front": 1.5,
        "board seconds": 6.0,
        "trainings": 0,
    }


def test_the_last_batch_may_pass_the_budget_and_nothing_is_left_then() -> None:
    ledger = Ledger(1.0, 1)
    ledger.charge_board("rounds", 1.25)
    assert ledger.board_spent == 1.25
    assert ledger.board_left == 0.0


def test_a_structure_is_charged_for_once() -> None:
    ledger = Ledger(0.0, 2)
    for key in ("a", "a", "b"):
        ledger.charge_training(key)
    assert (ledger.trained, ledger.trainings_left) == (2, 0)


@pytest.mark.parametrize(("seconds", "trainings"), [(-1.0, 1), (float("nan"), 1), (1.0, 0)])
def test_refuses_budgets_that_are_none(seconds: float, trainings: int) -> None:
    with pytest.raises(UsageError):
        Ledger(seconds, trainings)
