"""The networks of a search as text: what its events add up to, a table, and how it ended."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.search.choice import within
from tvmkd.search.front import accuracy_of, front, latency_of, usable
from tvmkd.search.page import PARETO
from tvmkd.search.page.wording import Wording, structure
from tvmkd.search.results import STUDY, Point, State, Study
from tvmkd.tuning.table import duration

if TYPE_CHECKING:
    from rich.table import Table

STATES: dict[State, str] = {
    "pruned": "stopped early",
    "infeasible": "too slow",
    "failed": "failed",
}
ROOM_BESIDE = 66  # columns of the screen that are not structures


@dataclass
class Progress:
    """What the events of a search add up to. Knows nothing of screens.

    Attributes:
        wanted: networks to train in all.
        study: what is known.
        doing: what each worker does.
    """

    wanted: int
    study: Study | None = None
    doing: dict[int, str] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _before: int | None = None

    def take(self, name: str, data: dict[str, Any]) -> None:
        """Takes in one event of a search; others are ignored."""
        if name == "study":
            self.study = data["study"]
            if self._before is None:
                self._before, self._began = self.done, time.monotonic()
        elif name == "doing":
            share = f" {data['done']}/{data['total']}" if data.get("total") else ""
            trial = f"trial {data['trial']}: " if "trial" in data else ""
            self.doing[data["worker"]] = f"{trial}{data['text']}{share}"

    @property
    def done(self) -> int:
        """Networks that are trained, or were until a rung."""
        points = self.study.points if self.study else []
        return sum(point.state in ("complete", "pruned") for point in points)

    @property
    def seconds_left(self) -> float | None:
        """At the rate of this run so far; None before its first network."""
        fresh = self.done - (self._before or 0)
        if fresh <= 0:
            return None
        return (time.monotonic() - self._began) / fresh * max(0, self.wanted - self.done)

    def line(self) -> str:
        """The state in one line."""
        study = self.study
        parts = [f"{self.done}/{self.wanted} networks"]
        if study is None:
            return parts[0]
        states = Counter(point.state for point in study.points)
        words = dict(STATES)
        shared = study.method == "supernet"
        if shared:
            del words["pruned"]
            parts = [f"{self.done} networks scored", f"{states['complete']} trained on"]
        parts += [f"{states[state]} {word}" for state, word in words.items() if states[state]]
        best, wording = self.best(), Wording(study)
        if best is not None:
            score = wording.score(accuracy_of(best))
            parts.append(f"best {score} at {latency_text(best, wording)}")
        if shared:
            return " · ".join(parts)
        fresh, minutes = self.done - (self._before or 0), (time.monotonic() - self._began) / 60
        if fresh > 0 and minutes > 0:
            parts.append(f"{fresh / minutes:.1f} a minute")
        left = self.seconds_left
        if left is not None and self.done < self.wanted:
            parts.append(f"{duration(left)} left")
        return " · ".join(parts)

    def best(self) -> Point | None:
        """The winner if there is one already, else the most accurate network."""
        if self.study is None:
            return None
        by_number = {point.number: point for point in self.study.points}
        if self.study.winner in by_number:
            return by_number[self.study.winner]
        return None

    def rows(self, count: int) -> list[Point]:
        """The networks that the table shows: the winner, the front, the best of the others."""
        if self.study is None:
            return []
        maximize = self.study.maximize
        line = front(self.study.points, maximize=maximize)
        numbers = {point.number for point in line}
        others = [point for point in usable(self.study.points) if point.number not in numbers]
        order = sorted(others, key=accuracy_of, reverse=maximize)
        winner = self.best()
        first = [winner] if winner is not None else []
        rest = [point for point in (*reversed(line), *order) if point not in first]
        return [*first, *rest][:count]


def latency_text(point: Point, wording: Wording) -> str:
    """A latency with its unit; ``~`` stands before one that is predicted."""
    if point.latency is None:
        return "–"
    return f"{'' if point.measured is not None else '~'}{wording.latency(point.latency)}"


def table(progress: Progress, rows: int, width: int) -> Table:
    """The networks, the winner first, as a rich table.

    Args:
        progress: of the search.
        rows: how many networks at most.
        width: of the screen; structures are cut where it is narrow.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result, study = Table(box=SIMPLE_HEAD), progress.study
    for name in ("trial", study.metric if study else "score", "latency", "parameters"):
        result.add_column(name, justify="right", no_wrap=True)
    for name in ("", "network"):
        result.add_column(name, no_wrap=True)
    if study is None:
        return result
    words = Wording(study)
    line = {point.number for point in front(study.points, maximize=study.maximize)}
    room = max(12, width - ROOM_BESIDE)
    for point in progress.rows(rows):
        marks = ["winner"] if point.number == study.winner else []
        marks += ["front"] if point.number in line else []
        marks += ["over budget"] if not within(point, study.budget) else []
        text = structure(point.structure)
        result.add_row(
            str(point.number),
            words.score(accuracy_of(point)),
            latency_text(point, words),
            "–" if point.parameters is None else f"{point.parameters:,}",
            ", ".join(marks),
            text if len(text) <= room else f"{text[: room - 1]}…",
            style="bold" if point.number == study.winner else None,
        )
    return result


def summary(study: Study, width: int) -> Table:
    """The front of a finished search, and its winner if that is not on it; see `table`."""
    progress = Progress(len(study.points))
    progress.take("study", {"study": study})
    line = front(study.points, maximize=study.maximize)
    winner = progress.best()
    count = len(line) + (winner is not None and winner not in line)
    return table(progress, count, width)


def ending(study: Study, folder: Path) -> list[str]:
    """What a search came to, and where its files are, in lines.

    Args:
        study: finished.
        folder: the search's folder.
    """
    winner = next((point for point in study.points if point.number == study.winner), None)
    words, lines = Wording(study), list[str]()
    limit = "" if study.budget is None else f" within {words.latency(study.budget)}"
    if winner is None:
        fastest = min(usable(study.points), key=latency_of, default=None)
        found = "" if fastest is None else f"; the fastest takes {latency_text(fastest, words)}"
        lines.append(f"no network was found{limit}{found}")
    else:
        within_it = limit if within(winner, study.budget) else ""
        lines.append(f"winner: trial {winner.number}, {words.summary(winner)}{within_it}")
        place = folder / "winner" / "tvmkd.toml"
        if winner.checkpoint is not None and place.is_file():
            lines.append(f"  {place}: continue with tvmkd run --config {place}")
        elif winner.checkpoint is None:
            lines.append("  its weights are not in this folder: another machine trained it")
    predicted = sum(point.measured is None for point in usable(study.points))
    if predicted:
        lines.append(f"  ~: predicted; {predicted} of {len(usable(study.points))} networks are")
    lines.append(f"  {folder / PARETO}: the page; {folder / STUDY}: all of it")
    return lines
