from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pages
import trainings

from tvmkd.report import training_history as histories
from tvmkd.report import training_page
from tvmkd.report.training_history import Epoch


def test_thirty_trainings_are_one_page(tmp_path: Path) -> None:
    trainings.thirty(tmp_path, 20)
    known = histories.of_run(tmp_path)
    assert len(known) == 30
    text = training_page.render("big", known)
    page = pages.read(text)
    assert page.headings[0] == "30 trainings, 1 of them not finished"
    assert page.headings[1:] == [
        "Before you rely on this",
        "Accuracy on the validation split",
        "Loss",
        "Loss by part",
        "Learning rate, gradients and pace",
        "Where time goes",
        "Trainings",
    ]
    assert "student in eight bits stopped after epoch 3 of 6" in page.text
    assert "distilled student (10)" in page.text
    # A line a training in both sizes of two plots, and in the five small ones.
    assert page.classes["run"] == 30 * (2 * 2 + 2 + 3) - _few(known)
    assert page.addresses == []
    assert "refresh" not in text


def _few(known: list[histories.History]) -> int:
    """Lines of one point only, which are a dot: scores of the unfinished training."""
    return 2 * sum(sum(entry.score is not None for entry in each.epochs) < 2 for each in known)


def test_a_training_that_runs_is_shown_and_looked_at_again(tmp_path: Path) -> None:
    running = trainings.training(tmp_path, done=1)
    text = training_page.render("toy", [running], running)
    page = pages.read(text)
    assert page.headings[0] == "distilled student (seed 0): epoch 1 of 10"
    assert '<meta http-equiv="refresh" content="10">' in text
    assert "stopped after" not in page.text
    empty = replace(running, epochs=[])
    assert "epoch 0 of 10" in pages.read(training_page.render("toy", [empty], empty)).text


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    history = trainings.training(tmp_path)
    bare = [Epoch(entry.epoch, entry.loss, score=entry.score) for entry in history.epochs]
    page = pages.read(training_page.render("old", [replace(history, epochs=bare)]))
    assert "was trained before there were histories" in page.text
    assert "Where time goes" not in page.headings
    assert "Loss by part" not in page.headings
    some = [*bare[:3], *history.epochs[3:]]
    page = pages.read(training_page.render("gap", [replace(history, epochs=some)]))
    assert "3 of 10 epochs have no line" in page.text


def test_a_gpu_is_accounted_for_honestly(tmp_path: Path) -> None:
    on_cpu = trainings.training(tmp_path, "a")
    on_gpu = trainings.training(tmp_path, "b", device="cuda", processes=2)
    assert "A GPU works while" not in training_page.render("x", [on_cpu])
    page = pages.read(training_page.render("x", [on_gpu]))
    assert "A GPU works while the loop goes on" in page.text
    assert "CUDA × 2" in page.text


def test_scores_are_written_as_their_metric_is(tmp_path: Path) -> None:
    known = [
        trainings.training(tmp_path, f"d{seed}", f"student (seed {seed})", seed=seed)
        for seed in (0, 1)
    ]
    assert "student 89.1% ± " in training_page.render("x", known)
    other = trainings.training(tmp_path, "map", metric="mAP", percent=False)
    text = training_page.render("x", [other])
    assert ">mAP on the validation split" in text
    assert "0.894" in text


def test_names_are_escaped(tmp_path: Path) -> None:
    history = trainings.training(tmp_path, name="<script>alert(1)</script>")
    text = training_page.render("<b>", [history], history)
    assert "<script" not in text
    assert "<b>:" not in text


def test_it_replaces_an_older_page(tmp_path: Path) -> None:
    history = trainings.training(tmp_path)
    path = tmp_path / "training.html"
    path.write_text("old")
    training_page.write(path, "run", [history], None)
    assert path.read_text().startswith("<!doctype html>")
