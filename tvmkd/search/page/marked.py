"""The points of a study that have a meaning of their own."""

from __future__ import annotations

from dataclasses import dataclass

from tvmkd.search import choice, front
from tvmkd.search.results import Point, Study


@dataclass(frozen=True)
class Marked:
    """The marked points.

    Attributes:
        front: that no other beats, from fast to slow.
        by_macs: the front of accuracy against multiply-accumulates, by rising MACs.
        winner: the one that the study names.
        macs_pick: the most accurate of ``by_macs`` within the budget.
        unsure: those that only a measurement can tell from the winner, best first.
    """

    front: list[Point]
    by_macs: list[Point]
    winner: Point | None
    macs_pick: Point | None
    unsure: list[Point]

    def word(self, point: Point) -> str:
        """What the point is, in a word; empty for an ordinary one."""
        if self.winner is not None and point.number == self.winner.number:
            return "winner"
        if point in self.unsure:
            return "to be measured"
        return "front" if point in self.front else ""


def find(study: Study) -> Marked:
    """The marked points of a study."""
    by_macs = front.front_by_macs(study.points, maximize=study.maximize)
    pick = choice.choose(by_macs, "accuracy", budget=study.budget, maximize=study.maximize)
    return Marked(
        front.front(study.points, maximize=study.maximize),
        by_macs,
        next((point for point in study.points if point.number == study.winner), None),
        pick.winner,
        choice.of_study(study).unsure,
    )
