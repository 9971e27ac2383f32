"""The head of a study's page: its result, its figures, and what to know before relying on it."""

from __future__ import annotations

from collections import Counter

from tvmkd.bench.table import seconds
from tvmkd.report.view import Note, Tile
from tvmkd.search import choice, front
from tvmkd.search.page import agreement
from tvmkd.search.page.marked import Marked
from tvmkd.search.page.wording import Wording, structure
from tvmkd.search.results import Study

METHODS = {
    "study": "study of trained networks",
    "supernet": "supernet",
    "joint": "structure and schedule together",
}


def eyebrow(study: Study) -> list[str]:
    """What was searched, and for what."""
    budget = "no budget" if study.budget is None else f"budget {study.budget:g} {study.unit}"
    return [study.name, study.target, METHODS[study.method], budget]


def headline(study: Study, known: Marked) -> tuple[str, str]:
    """The result in one sentence, and one more about it."""
    words = Wording(study)
    if known.winner is not None and known.winner.accuracy is not None:
        won = known.winner
        time = words.latency(won.latency) if won.latency is not None else "an unknown time"
        head = f"Trial {won.number}: {words.score(front.accuracy_of(won))} in {time}"
        return head, structure(won.structure)
    fastest = choice.of_study(study).fastest
    if fastest is not None and study.budget is not None:
        head = f"No network is known to meet the budget of {study.budget:g} {study.unit}"
        return head, f"The fastest is trial {fastest.number}: {words.summary(fastest)}."
    if fastest is not None:
        return "No network was chosen", ""
    return "No network was trained to the end", ""


def tiles(study: Study, known: Marked) -> list[Tile]:
    """The figures that a person looks for first."""
    words, won = Wording(study), known.winner
    found = []
    if won is not None and won.latency is not None:
        how = "measured" if won.measured is not None else "predicted only"
        found.append(Tile(words.latency(won.latency), f"the winner, {how}"))
        if study.budget is not None:
            good = choice.within(won, study.budget)
            share = f"{won.latency / study.budget:.0%}"
            found.append(Tile(share, "of the budget", "good" if good else "bad"))
    if won is not None and won.accuracy is not None:
        if won.test_accuracy is not None:
            found.append(Tile(words.score(won.test_accuracy), f"{study.metric} on the test images"))
        else:
            found.append(Tile(words.score(won.accuracy), f"{study.metric} in validation"))
    if known.front:
        found.append(Tile(str(len(known.front)), f"on the front, of {len(study.points)} tried"))
    spent = study.training_seconds or sum(point.seconds for point in study.points)
    if spent:
        found.append(Tile(seconds(spent), "of training"))
    return found


def notes(study: Study, known: Marked) -> list[Note]:
    """What a reader must know before relying on the figures."""
    words, won = Wording(study), known.winner
    found = []
    if not study.complete:
        found.append(Note("the search is not finished: run the same command to continue it"))
    if study.unit == "M MACs":
        found.append(
            Note("there was no latency table: multiply-accumulates are not a time on any target")
        )
    if study.unit == "M instructions":
        found.append(
            Note("an emulated board counted instructions; how long they take, it cannot say")
        )
    if won is not None and won.measured is None and study.unit != "M MACs":
        found.append(Note("its time is predicted; nobody measured it", f"trial {won.number}"))
    if won is not None and won.measured is None and won.interpolated > 0.1:
        text = f"{won.interpolated:.0%} of its time is in kernels that nobody measured"
        found.append(Note(text, f"trial {won.number}"))
    if known.unsure:
        numbers = ", ".join(str(point.number) for point in known.unsure[:6])
        more = f" and {len(known.unsure) - 6} more" if len(known.unsure) > 6 else ""
        found.append(
            Note(
                f"{numbers}{more} would be chosen if measurements showed them within the budget: "
                "the interval of their prediction contains it",
                "trials" if len(known.unsure) > 1 else "trial",
            )
        )
    found += _of_predictions(study)
    failed = [point for point in study.points if point.state == "failed"]
    if failed:
        reasons = Counter(point.error or "no reason known" for point in failed)
        text, count = reasons.most_common(1)[0]
        head = "1 trial failed" if len(failed) == 1 else f"{len(failed)} trials failed"
        often = "" if count == len(failed) else f", {count} of them"
        found.append(Note(f"{head}{often}: {text}"))
    teacher = study.teacher.get("accuracy")
    if isinstance(teacher, int | float) and won is not None and won.test_accuracy is None:
        found.append(
            Note(
                f"the teacher's {words.score(teacher)} are on the test images, the scores of the "
                "networks on the validation images"
            )
        )
    return found


def _of_predictions(study: Study) -> list[Note]:
    told = agreement.judge(study.points)
    if told is None or told.inside is None or told.count < 5 or told.inside >= 0.75:
        return []
    return [
        Note(
            f"only {told.inside:.0%} of {told.count} measured times lie in the predicted interval, "
            "which should hold 90%: measure the table again"
        )
    ]
