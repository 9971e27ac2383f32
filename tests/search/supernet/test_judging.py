from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import supernets
import torch

from tvmkd.distill.distributed import ALONE
from tvmkd.models.macs import macs, parameters
from tvmkd.search.study.goal import Goal
from tvmkd.search.supernet.judging import Judge, Scores, identity
from tvmkd.search.supernet.networks import Networks
from tvmkd.search.supernet.ranking import Ranking

SMALL = {"width.0": 0.5, "width.1": 0.5, "kernel": 3}
LARGE = {"width.0": 2.0, "width.1": 2.0, "kernel": 5}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return supernets.networks(supernets.plan(tmp_path_factory.mktemp("judging")))


def judge(networks: Networks, path: Path, budget: float | None = None, **more: int) -> Judge:
    ranking = Ranking(Goal("accuracy", budget))
    scores = Scores(path / "scores.json", "a")
    return Judge(networks, supernets.Known(), ranking, scores, ALONE, images=64, **more)


def test_a_network_is_predicted_and_scored(networks: Networks, tmp_path: Path) -> None:
    made = judge(networks, tmp_path)
    found = made(SMALL)
    network = networks.blueprints.build(SMALL)
    count = parameters(network)
    assert (found.parameters, found.macs) == (count, macs(network, (1, 1, 8, 8)))
    assert found.predicted == pytest.approx(count / 1000)
    assert found.low == pytest.approx(0.95 * count / 1000)
    assert found.high == pytest.approx(1.05 * count / 1000)
    assert found.key == networks.blueprints.key(SMALL)
    task = networks.blueprints.task(SMALL)
    assert found.score == task.score(made.network(SMALL), "val")
    assert found.error is None


def test_its_statistics_are_those_of_training_images(networks: Networks, tmp_path: Path) -> None:
    made = judge(networks, tmp_path).network(SMALL)
    images = torch.from_numpy(networks.blueprints.task(SMALL).samples(64, "train"))
    with torch.no_grad():
        first = made.features[0](images)
    assert torch.allclose(made.features[1].running_mean, first.mean((0, 2, 3)), atol=1e-5)


def test_what_is_too_slow_is_not_scored(networks: Networks, tmp_path: Path) -> None:
    made = judge(networks, tmp_path, budget=0.8)
    slow, fast = made(LARGE), made(SMALL)
    assert slow.score is None
    assert slow.error is None
    assert slow.predicted is not None
    assert slow.predicted > 0.8
    assert fast.score is not None


def test_known_scores_are_used_and_kept(
    networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = judge(networks, tmp_path)
    found = made(SMALL)
    made.scores.write()
    again = judge(networks, tmp_path)
    monkeypatch.setattr(again, "score", lambda structure: pytest.fail("it is known"))
    assert again(SMALL) == found
    other = Scores(tmp_path / "scores.json", "b")
    assert other.known == {}


@pytest.mark.parametrize("content", ["", "[]", '{"identity": "a", "scores": {"x": "y"}}', "{}"])
def test_damaged_scores_are_computed_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "scores.json").write_text(content, encoding="utf-8")
    assert Scores(tmp_path / "scores.json", "a").known == {}


def test_fewer_images_are_scored_where_that_is_asked_for(
    networks: Networks, tmp_path: Path
) -> None:
    found = judge(networks, tmp_path, validation=50)(SMALL).score
    assert found is not None
    assert (found * 50) % 1 == pytest.approx(0, abs=1e-6)


def test_what_is_wrong_with_a_network_is_in_its_result(
    networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = judge(networks, tmp_path)
    monkeypatch.setattr(made, "score", lambda structure: math.nan)
    found = made(SMALL)
    assert (found.score, found.error) == (None, "its score on the validation split is nan")
    assert made.scores.known == {}
    monkeypatch.setattr("supernets.parameters", lambda network: 1013)
    failed = made(SMALL)
    assert (failed.error, failed.predicted) == (
        "width.0=0.5, width.1=0.5, kernel=3: 13 is unlucky",
        None,
    )


def test_an_identity_changes_with_every_fact() -> None:
    facts = {"weights": "a", "images": 3}
    assert json.loads(identity(**facts)) == facts
    assert identity(**{**facts, "images": 4}) != identity(**facts)
