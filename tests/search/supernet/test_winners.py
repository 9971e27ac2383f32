from __future__ import annotations

from pathlib import Path

import pytest
import supernets
import torch

from tvmkd.config.search import Supernet
from tvmkd.distill import tasks
from tvmkd.models import checkpoint
from tvmkd.search.study.goal import Goal
from tvmkd.search.study.networks import Networks as Sessions
from tvmkd.search.supernet.ranking import Judged, Ranking
from tvmkd.search.supernet.winners import choose, tune

ACCURACY, FRONT = Ranking(Goal("accuracy", 5.0)), Ranking(Goal("front", 5.0))


def judged(key: str, score: float | None, predicted: float, high: float | None = None) -> Judged:
    return Judged(key, {}, predicted, predicted, predicted if high is None else high, score=score)


def keys(found: list[Judged], ranking: Ranking, count: int) -> str:
    return "".join(each.key for each in choose(found, ranking, count))


def test_the_best_within_the_budget() -> None:
    found = [judged("a", 0.8, 1.0), judged("b", 0.9, 2.0), judged("c", 0.7, 0.5)]
    slow, failed = judged("s", 0.99, 6.0), judged("f", None, 1.0)
    assert keys([*found, slow, failed], ACCURACY, 2) == "ba"
    assert keys([*found, slow, failed], ACCURACY, 9) == "bac"
    assert keys([slow, failed], ACCURACY, 2) == ""


def test_one_of_them_meets_the_budget_for_certain() -> None:
    near = [judged("a", 0.9, 4.9, 5.2), judged("b", 0.89, 4.8, 5.1)]
    safe, worse = judged("c", 0.85, 4.0, 4.3), judged("d", 0.8, 3.0, 3.2)
    assert keys([*near, safe, worse], ACCURACY, 2) == "ac"
    assert keys([*near, safe, worse], ACCURACY, 1) == "c"
    assert keys([*near, safe, worse], ACCURACY, 3) == "abc"
    assert keys(near, ACCURACY, 1) == "a"


def test_of_a_front_from_the_fastest_to_the_slowest() -> None:
    line = [judged(key, 0.5 + number / 20, 1.0 + number) for number, key in enumerate("abcde")]
    beaten = judged("x", 0.5, 3.0)
    assert keys([*line[::-1], beaten], FRONT, 3) == "ace"
    assert keys([*line, beaten], FRONT, 5) == "abcde"
    # More than the front has: then the best of the others.
    assert keys([*line, beaten], FRONT, 9) == "abcdex"
    assert keys([*line], FRONT, 1) == "a"


def test_a_winner_starts_from_its_weights_and_learns_from_the_teacher(tmp_path: Path) -> None:
    asked = supernets.plan(tmp_path)
    networks = supernets.networks(asked)
    structure = {"width.0": 0.5, "width.1": 2.0, "kernel": 3}
    start = networks.cut(structure)
    sessions = Sessions(tmp_path, asked.target)
    cfg = networks.blueprints.config(structure)
    path = tmp_path / "trials" / "student.pt"

    still = Supernet(tuning_epochs=1, tuning_lr=1e-9)
    tuned = tune(cfg, start, still, sessions, path)
    kept = checkpoint.load(path)
    assert kept.model == networks.blueprints.model(structure)
    for name, tensor in start.named_parameters():
        assert torch.allclose(kept.state[name], tensor, atol=1e-6)
    assert (tuned.epochs, tuned.checkpoint, tuned.seed) == (1, path, 0)
    assert list((tmp_path / "teachers").glob("*/teacher.pt"))

    seen = []
    moving = Supernet(tuning_epochs=2, tuning_lr=1e-2)
    tuned = tune(cfg, start, moving, sessions, path, lambda done, note: seen.append(done))
    assert seen == [0, 1, 2]
    # The checkpoint is the network that the config describes, and has the scores that are told.
    task = tasks.make(cfg)
    network = task.restore(path)
    assert task.score(network, "val") == tuned.score
    assert task.score(network, "test") == tuned.test
    assert tuned.seconds > 0
    assert tune(cfg, start, moving, sessions, path) == tuned


def test_other_weights_to_start_from_train_again(tmp_path: Path) -> None:
    asked = supernets.plan(tmp_path, sections={"distill": {"loss": "ce"}})
    networks = supernets.networks(asked)
    cfg, sessions = networks.blueprints.config(networks.corners.smallest), None
    sessions = Sessions(tmp_path, asked.target)
    settings = Supernet(tuning_epochs=1)
    path = tmp_path / "student.pt"
    first = networks.cut(networks.corners.smallest)
    tune(cfg, first, settings, sessions, path)
    before = path.stat().st_mtime_ns
    tune(cfg, first, settings, sessions, path)
    assert path.stat().st_mtime_ns == before
    with torch.no_grad():
        first.head.bias.add_(1)
    tune(cfg, first, settings, sessions, path)
    assert path.stat().st_mtime_ns > before


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_no_network_is_chosen_twice(count: int) -> None:
    found = [judged(key, 0.5 + number / 20, 1.0 + number) for number, key in enumerate("abc")]
    chosen = keys(found, FRONT, count)
    assert len(set(chosen)) == len(chosen) == min(count, 3)
