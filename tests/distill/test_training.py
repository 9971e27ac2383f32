from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tvmkd.distill.latency import LatencyTerm
from tvmkd.distill.training import Job, Momentum, Settings

SETTINGS = Settings(epochs=2, lr=0.5, weight_decay=0.0, batch_size=8, seed=1)
BASE = Job(
    name="student (seed 1)",
    model={"spec": "x", "kwargs": {}},
    settings=SETTINGS,
    path=Path("nowhere.pt"),
    loss=lambda batch, output: output,
    loss_id={"loss": "ce"},
)


def identity(
    job: Job,
    data: str = "a",
    processes: int = 1,
    own: str | None = None,
    search_in: Sequence[Path] = (),
) -> str:
    task: Any = SimpleNamespace(
        identity=lambda variants: {"data": data, "views": variants},
        cfg=SimpleNamespace(data=SimpleNamespace(task=own)),
        search_in=search_in,
    )
    return job.identity(task, processes)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"spec": "y", "kwargs": {}}},
        {"settings": replace(SETTINGS, lr=0.25)},
        {"settings": replace(SETTINGS, seed=2)},
        {"settings": replace(SETTINGS, sgd=Momentum(0.9))},
        {"settings": replace(SETTINGS, stop=1)},
        {"loss_id": {"loss": "kd"}},
        {"variants": 3},
        {"latency": LatencyTerm(lambda model: 1.0, 0.5, {"latency_weight": 0.5})},
    ],
)
def test_what_determines_the_result_is_in_its_identity(change: dict[str, Any]) -> None:
    assert identity(replace(BASE, **change)) != identity(BASE)


def test_data_and_processes_are_in_the_identity_and_names_are_not() -> None:
    assert identity(BASE, "b") != identity(BASE)
    assert identity(BASE, processes=2) != identity(BASE)
    assert identity(replace(BASE, name="other", path=Path("other.pt"))) == identity(BASE)


def test_a_users_code_is_in_the_identity(tmp_path: Path) -> None:
    code = tmp_path / "my_code.py"
    network = replace(BASE, model={"spec": "my_code:Net", "kwargs": {}})
    changed = replace(BASE, model={"spec": "pruned", "kwargs": {"base": "my_code:Net"}})
    cases = [(network, None), (changed, None), (BASE, "my_code:Task")]
    found = []
    for text in ("a = 1", "a = 2"):
        code.write_text(text)
        found.append([identity(job, own=own, search_in=[tmp_path]) for job, own in cases])
    assert not set(found[0]) & set(found[1])


def test_a_latency_that_moves_no_weight_is_not_in_the_identity() -> None:
    term = LatencyTerm(lambda model: 1.0, 0.5)
    assert identity(replace(BASE, latency=term)) == identity(BASE)


def test_what_is_not_used_leaves_the_identity_of_earlier_checkpoints() -> None:
    names = ["epochs", "lr", "weight_decay", "batch_size", "seed"]
    assert list(SETTINGS.identity()) == names
    dot = replace(SETTINGS, sgd=Momentum(0.9, 0.05), stop=1)
    assert dot.identity()["sgd"] == {"momentum": 0.9, "delta": 0.05}
    assert (SETTINGS.last, dot.last) == (2, 1)


def test_a_number_that_is_not_finite_is_one_line(tmp_path: Path) -> None:
    order = [torch.arange(3), torch.arange(10, 20)]
    text = str(BASE.not_finite("loss", float("nan"), 4, 1, order))
    assert text == (
        "student (seed 1): the loss is nan in batch 2 of 2 of epoch 5 (training images 10, 11, 12, "
        "13, 14, 15, ...); lower its lr (0.5), or look for bad values in the data"
    )
    kept = tmp_path / "kept.pt"
    kept.touch()
    again = str(replace(BASE, path=kept).not_finite("loss", float("nan"), 4, 0, order))
    assert "(training images 0, 1, 2)" in again
    assert again.endswith(f"{kept} is of an earlier epoch")
