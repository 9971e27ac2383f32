"""``training.html``: the trainings of a run as curves; nothing fetched, no script."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tvmkd.base.files import write_text
from tvmkd.base.text import heading
from tvmkd.report import environment
from tvmkd.report import training_charts as charts
from tvmkd.report.charts import NARROW, both
from tvmkd.report.training_history import Epoch, History
from tvmkd.report.view import Cell, Note, Row, Section, Table, Tile

REFRESH = 10
"""Seconds after which a browser loads the page again, while a training runs."""
PHASES = {
    "data": "waiting for data",
    "forward": "forward and loss",
    "step": "backward and step",
    "train": "forward, loss, backward, step",
    "evaluation": "evaluation",
    "checkpoint": "checkpoints",
    "other": "the rest",
}
"""What the phases of `tvmkd.distill.epoch_clock` are, for people."""


def write(path: Path, run: str, trainings: Sequence[History], running: History | None) -> Path:
    """Writes the page; replaces an older one in one step.

    Args:
        path: the file.
        run: its name.
        trainings: at least one, see `training_history.of_run`.
        running: the one that is not done; None: nothing runs.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, render(run, trainings, running))
    return path


def render(run: str, trainings: Sequence[History], running: History | None = None) -> str:
    """The page as text."""
    head, detail = _headline(trainings, running)
    parts = [
        _scores(trainings),
        _losses(trainings),
        _loss_parts(trainings),
        _pace(trainings),
        _time(trainings),
    ]
    return environment.render(
        "training.html",
        title=f"{run}: {head}",
        eyebrow=[run, *_devices(trainings)],
        headline=head,
        detail=detail,
        refresh=REFRESH if running is not None else None,
        tiles=_tiles(trainings),
        notes=_notes(trainings, running),
        legend=_legend(trainings),
        sections=[part for part in parts if part is not None],
        table=_table(trainings),
        footer="drawn " + time.strftime("%Y-%m-%d %H:%M:%S %Z"),
    )


def _headline(trainings: Sequence[History], running: History | None) -> tuple[str, str]:
    means = "; ".join(text for text in map(_mean_of, _kinds(trainings).values()) if text)
    if running is not None:
        done = running.epochs[-1].epoch if running.epochs else 0
        return f"{running.head.name}: epoch {done} of {running.head.epochs}", means
    open_ones = [training for training in trainings if not training.finished]
    count = f"{len(trainings)} training" + ("s" if len(trainings) > 1 else "")
    state = f"{len(open_ones)} of them not finished" if open_ones else "all finished"
    return f"{count}, {state if len(trainings) > 1 or open_ones else 'finished'}", means


def _mean_of(group: Sequence[History]) -> str:
    """The mean of the last scores of a kind's finished trainings."""
    scores = [_last_score(training) for training in group if training.finished]
    known = [score for score in scores if score is not None]
    if not known:
        return ""
    head = group[0].head
    spread = f" ± {_score(statistics.stdev(known), group[0])}" if len(known) > 1 else ""
    return f"{head.kind} {_score(statistics.fmean(known), group[0])}{spread}"


def _kinds(trainings: Sequence[History]) -> dict[str, list[History]]:
    found: dict[str, list[History]] = {}
    for training in trainings:
        found.setdefault(training.head.kind, []).append(training)
    return found


def _legend(trainings: Sequence[History]) -> list[tuple[str, str]]:
    """(class, text) of each kind."""
    known = charts.colours(trainings)
    return [
        (f"run-{known[kind]}", kind if len(group) == 1 else f"{kind} ({len(group)})")
        for kind, group in _kinds(trainings).items()
    ]


def _devices(trainings: Sequence[History]) -> list[str]:
    found: dict[str, None] = {}
    for training in trainings:
        head = training.head
        many = f" × {head.processes}" if head.processes > 1 else ""
        found[f"{head.device.upper()}{many}"] = None
    return list(found)


def _tiles(trainings: Sequence[History]) -> list[Tile]:
    done = sum(training.finished for training in trainings)
    epochs = sum(len(training.epochs) for training in trainings)
    wanted = sum(training.head.epochs for training in trainings)
    found = [
        Tile(f"{done} of {len(trainings)}", "trainings finished"),
        Tile(f"{epochs} of {wanted}", "epochs, of those that have started"),
    ]
    spent = {
        phase: sum(_seconds(training).get(phase, 0.0) for training in trainings) for phase in PHASES
    }
    whole = sum(spent.values())
    if whole:
        found.append(Tile(charts.seconds(whole), "spent in recorded epochs"))
        phase = max(spent, key=lambda name: spent[name])
        found.append(Tile(f"{spent[phase] / whole:.0%}", f"of it: {PHASES[phase]}"))
    return found


def _notes(trainings: Sequence[History], running: History | None) -> list[Note]:
    found = []
    for training in trainings:
        bare = [entry for entry in training.epochs if not entry.seconds]
        if bare and len(bare) == len(training.epochs):
            text = "was trained before there were histories: its loss and scores are known alone"
            found.append(Note(text, training.head.name))
        elif bare:
            count = f"{len(bare)} of {len(training.epochs)} epochs"
            found.append(
                Note(
                    f"{count} have no line: their loss and score alone are known",
                    training.head.name,
                )
            )
        if not training.finished and (running is None or running.path != training.path):
            done = training.epochs[-1].epoch if training.epochs else 0
            text = (
                f"stopped after epoch {done} of {training.head.epochs}: run it again to resume it"
            )
            found.append(Note(text, training.head.name))
    if any(training.head.device != "cpu" for training in trainings):
        found.append(
            Note(
                "A GPU works while the loop goes on. So the parts of a step are one figure, right "
                "over a whole epoch, at whose end the loop waits for the GPU; and while the loop "
                "waits for data, the GPU may still be at work."
            )
        )
    return found


def _scores(trainings: Sequence[History]) -> Section | None:
    found = charts.lines(trainings, lambda entry: entry.score)
    if not found:
        return None
    head = trainings[0].head
    name = f"{head.metric} on the validation split"
    return Section(
        heading(name),
        lead="Scored after each fifth of a training"
        + ("." if head.rising else "; less is better."),
        chart=both(lambda width: charts.curves(found, "", width, percent=head.percent)),
    )


def _losses(trainings: Sequence[History]) -> Section | None:
    found = charts.lines(trainings, lambda entry: entry.loss)
    if not found:
        return None
    return Section(
        "Loss",
        lead="The mean over each epoch. Losses of different kinds are sums of different parts: "
        "compare lines of one colour.",
        chart=both(lambda width: charts.curves(found, "", width)),
    )


def _loss_parts(trainings: Sequence[History]) -> Section | None:
    names = dict.fromkeys(
        name for training in trainings for entry in training.epochs for name in entry.parts
    )
    if not names:
        return None
    plots = []
    for name in names:
        found = charts.lines(trainings, lambda entry, name=name: entry.parts.get(name))  # type: ignore[misc]
        if found:
            plots.append(charts.curves(found, name, NARROW))
    return Section(
        "Loss by part",
        lead="Each part with its weight: their sum is the loss. “other” is what a loss did not "
        "name.",
        chart=charts.multiples(plots),
    )


def _pace(trainings: Sequence[History]) -> Section | None:
    wanted = (
        ("learning rate", "", lambda entry: entry.lr),
        ("gradient norm", "mean, before clipping", lambda entry: entry.gradient_norm),
        ("images a second", "waiting included", lambda entry: entry.images_per_second),
    )
    plots = []
    for title, unit, value in wanted:
        found = charts.lines(trainings, value)
        if found:
            plots.append(charts.curves(found, title, NARROW, unit, linear=not unit))
    if not plots:
        return None
    return Section("Learning rate, gradients and pace", chart=charts.multiples(plots))


def _time(trainings: Sequence[History]) -> Section | None:
    rows = []
    for training in trainings:
        spent = _seconds(training)
        parts = [(PHASES[phase], spent[phase]) for phase in PHASES if phase in spent]
        if parts:
            rows.append((training.head.name, parts))
    if not rows:
        return None
    there = [text for text in PHASES.values() if any(text in dict(parts) for _, parts in rows)]
    texts = list(PHASES.values())
    key = [(f"phase-{texts.index(text)}", text) for text in there]
    return Section(
        "Where time goes",
        lead="The share of each phase in a training's recorded epochs. The teacher's answers are "
        "part of forward and loss; what happens after a checkpoint, such as a measurement on "
        "the target, is part of checkpoints.",
        chart=environment.legend(key)
        + both(lambda width: charts.where_time_goes(rows, texts, width)),
    )


def _table(trainings: Sequence[History]) -> Table:
    rows = []
    for training in trainings:
        scores = [entry.score for entry in training.epochs if entry.score is not None]
        pick = max if training.head.rising else min
        last = training.epochs[-1] if training.epochs else None
        spent = sum(_seconds(training).values())
        rows.append(
            Row(
                training.head.name,
                [
                    Cell(f"{last.epoch if last else 0} of {training.head.epochs}"),
                    Cell(f"{last.loss:.4g}") if last else Cell(),
                    Cell(_score(scores[-1], training)) if scores else Cell(),
                    Cell(_score(pick(scores), training)) if scores else Cell(),
                    Cell(_number(entry.images_per_second for entry in training.epochs)),
                    Cell(charts.seconds(spent)) if spent else Cell(),
                ],
            )
        )
    heads = ["Training", "Epochs", "Last loss", "Last score", "Best score", "Images/s", "Time"]
    return Table(heads, rows).without_empty_columns()


def _number(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return f"{statistics.median(known):,.0f}" if known else Cell().text


def _seconds(training: History) -> dict[str, float]:
    """The seconds of each phase, over the epochs that are known."""
    found: dict[str, float] = {}
    for entry in training.epochs:
        for phase, value in entry.seconds.items():
            name = phase if phase in PHASES else "other"
            found[name] = found.get(name, 0.0) + value
    return found


def _last_score(training: History) -> float | None:
    entry: Epoch | None = next(
        (entry for entry in reversed(training.epochs) if entry.score is not None), None
    )
    return None if entry is None else entry.score


def _score(value: float, training: History) -> str:
    return f"{100 * value:.1f}%" if training.head.percent else f"{value:.3f}"
