"""What a search may spend, and what it has spent: board seconds and trainings."""

from __future__ import annotations

from dataclasses import dataclass, field

from tvmkd.base.errors import UsageError


@dataclass
class Ledger:
    """Two budgets, which every way of searching is charged against alike.

    A structure is charged for once: trained again for another seed of the search, it is another
    ledger's. Board seconds may pass their budget by the last batch of trials, since nobody knows
    beforehand how long a batch takes; what was spent is what was measured.

    Attributes:
        board_seconds: the most, in seconds for which boards are busy.
        trainings: the most.
        spent: board seconds so far, by what they were spent on.
    """

    board_seconds: float
    trainings: int
    spent: dict[str, float] = field(default_factory=dict)
    _trained: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Checks the budgets."""
        if not self.board_seconds >= 0:
            raise UsageError(f"board seconds must be 0 or more, not {self.board_seconds:g}")
        if self.trainings < 1:
            raise UsageError(f"a search needs at least 1 training, not {self.trainings}")

    def charge_board(self, what: str, seconds: float) -> None:
        """Adds seconds for which boards were busy; ``what`` says for what, for the report."""
        self.spent[what] = self.spent.get(what, 0.0) + seconds

    def charge_training(self, key: str) -> None:
        """Adds the training of a structure, unless it is there already."""
        self._trained.add(key)

    @property
    def board_spent(self) -> float:
        """Board seconds spent so far."""
        return sum(self.spent.values())

    @property
    def board_left(self) -> float:
        """Board seconds that may still be spent."""
        return max(0.0, self.board_seconds - self.board_spent)

    @property
    def trained(self) -> int:
        """Trainings made so far."""
        return len(self._trained)

    @property
    def trainings_left(self) -> int:
        """Trainings that may still be made."""
        return max(0, self.trainings - self.trained)

    def summary(self) -> dict[str, float]:
        """Board seconds by what they were spent on, and the trainings, for a report."""
        parts = {f"board seconds, {what}": round(each, 3) for what, each in self.spent.items()}
        return {**parts, "board seconds": round(self.board_spent, 3), "trainings": self.trained}
