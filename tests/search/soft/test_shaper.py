"""Structures that are really learnt, on made-up targets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from made_up_latency import MadeUpLatency
from small import small

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.distill import Result, distill, tasks
from tvmkd.models import checkpoint
from tvmkd.models.macs import macs
from tvmkd.search.soft import survey
from tvmkd.search.soft.shaper import LatencyShaper, SoftNetwork, _text

STUDENT = {"model": "depthwise", "args": {"stem": 16, "blocks": [[32, 1], [32, 1]]}}
SHAPE = (1, 1, 8, 8)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shaped(
    folder: Path,
    latency: MadeUpLatency,
    weight: float,
    *,
    student: Any = STUDENT,
    watch: Any = None,
    checkpoint_seconds: float = 5.0,
    **section: Any,
) -> Result:
    given = {"loss": "ce", "seeds": [0], "epochs": 20, "lr": 1e-2, "latency": "table", **section}
    cfg = small(
        data={"augment": "none"}, student=student, distill={**given, "latency_weight": weight}
    )
    shaper = LatencyShaper(
        latency, "made up", weight, folder / "students" / "shaping", 8, watch=watch
    )
    return distill(
        cfg, folder, shaper=shaper if weight else None, checkpoint_seconds=checkpoint_seconds
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """The same λ for two targets, and other λ for the first of them."""
    cases = {
        "no weight": (MadeUpLatency(), 0.0),
        "a little": (MadeUpLatency(), 0.05),
        "dense is slow": (MadeUpLatency(depthwise=0.0), 1.0),
        "depthwise is slow": (MadeUpLatency(dense=0.01, depthwise=100.0), 1.0),
        "a lot": (MadeUpLatency(depthwise=0.0), 100.0),
    }
    return {name: shaped(tmp_path_factory.mktemp("shaped"), *case) for name, case in cases.items()}


def structure(result: Result) -> dict[str, int]:
    assert result.chosen.shape is not None
    return dict(result.chosen.shape["structure"])


def ratio(result: Result) -> float:
    return 1.0 if result.chosen.shape is None else float(result.chosen.shape["ratio"])


def test_without_a_weight_nothing_is_taken_out(results: dict[str, Result]) -> None:
    saved = checkpoint.load(results["no weight"].checkpoint)
    assert saved.model["spec"] == "depthwise"
    assert results["no weight"].chosen.shape is None


def test_the_latency_falls_as_the_weight_rises(results: dict[str, Result]) -> None:
    found = [ratio(results[name]) for name in ("no weight", "a little", "dense is slow", "a lot")]
    assert found == sorted(found, reverse=True)
    assert found[1] > 0.8
    assert found[3] < 0.35
    assert found[2] < found[1]


def test_the_same_weight_gives_other_structures_on_another_target(
    results: dict[str, Result],
) -> None:
    """What reads the last channels is dense alone: free where depthwise convolutions cost."""
    dense, depthwise = (structure(results[name]) for name in ("dense is slow", "depthwise is slow"))
    assert dense != depthwise
    assert "features.4.3" in dense
    assert "features.4.3" not in depthwise
    assert depthwise["features.3.3"] < 32, "it goes through a depthwise convolution"


def test_what_is_cut_out_is_the_student_that_later_stages_read(results: dict[str, Result]) -> None:
    result = results["dense is slow"]
    saved = checkpoint.load(result.checkpoint)
    assert saved.model["spec"] == "pruned"
    network = models.build(saved.model["spec"], **saved.model["kwargs"])
    network.load_state_dict(saved.state)
    widths = structure(result)
    assert network.get_submodule("features.4.3").out_channels == widths["features.4.3"]
    assert result.student.macs == macs(network, SHAPE) == result.chosen.shape["macs"]  # type: ignore[index]
    assert saved.meta["student"] == "depthwise"
    score = tasks.make(small()).evaluate(network, "test")["accuracy"]
    assert score == pytest.approx(result.chosen.test_accuracy)
    assert score > 0.3, "it was trained on"


def test_the_facts_are_in_the_metrics(results: dict[str, Result]) -> None:
    result = results["dense is slow"]
    (run,) = json.loads(result.metrics.read_text())["runs"]
    facts = run["shape"]
    assert facts["ratio"] == pytest.approx(facts["predicted"] / facts["whole"])
    assert facts["expected"] == pytest.approx(facts["predicted"], rel=1e-6)
    assert facts["expected_errors"]["mean"] < 1e-6
    assert set(facts["structure"]) <= set(facts["options"])
    assert "groups of channels narrower" in result.lines()[-1]
    (plain,) = json.loads(results["no weight"].metrics.read_text())["runs"]
    assert "shape" not in plain


def test_the_predictor_is_asked_once_for_all_students(tmp_path: Path) -> None:
    latency = MadeUpLatency()
    shaped(tmp_path, latency, 1.0, epochs=2)
    once = latency.asked
    shaped(tmp_path, latency, 1.0, epochs=2, seeds=[0, 1])
    assert latency.asked == once + 2, "each finished student"
    assert (tmp_path / "students" / "shaping" / survey.FILE).is_file()


def test_killed_while_shaping_and_started_again_ends_the_same(
    tmp_path: Path, results: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(path: Path, epoch: int, network: torch.nn.Module) -> None:
        if epoch == 6:
            raise Stop

    original = SoftNetwork.after_checkpoint
    monkeypatch.setattr(SoftNetwork, "after_checkpoint", property(lambda self: stop))
    latency = MadeUpLatency(depthwise=0.0)
    with pytest.raises(Stop):
        shaped(tmp_path, latency, 1.0, checkpoint_seconds=0.0)
    assert checkpoint.load(tmp_path / "students/shaping/baseline-0.pt").epoch == 6
    monkeypatch.setattr(SoftNetwork, "after_checkpoint", original)
    again = shaped(tmp_path, latency, 1.0)
    whole = results["dense is slow"]
    assert structure(again) == structure(whole)
    prints = [checkpoint.fingerprint(checkpoint.load(r.checkpoint).state) for r in (again, whole)]
    assert prints[0] == prints[1]


def test_the_watcher_sees_what_would_be_cut_out(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def watch(path: Path, epoch: int, network: torch.nn.Module) -> None:
        assert not any(module._forward_pre_hooks for module in network.modules())
        seen.append((f"{path.parent.name}/{path.name}", epoch, macs(network, SHAPE)))

    result = shaped(tmp_path, MadeUpLatency(), 100.0, watch=watch, epochs=20)
    ((place, epoch, size),) = seen
    assert (place, epoch) == ("shaping/baseline-0.pt", 10)
    assert size == result.student.macs


def test_blocks_are_left_out_too(tmp_path: Path) -> None:
    student = {"model": "residual", "args": {"widths": [16], "depth": 3}}
    result = shaped(tmp_path, MadeUpLatency(), 100.0, student=student, epochs=10)
    found = structure(result)
    assert (found["blocks.1"], found["blocks.2"]) == (0, 0)
    assert not any(name.startswith(("blocks.1.", "blocks.2.")) for name in found), "gone with it"
    assert "2 of 2 blocks left out" in result.lines()[-1]
    assert checkpoint.load(result.checkpoint).model["kwargs"]["skipped"] == ["blocks.1", "blocks.2"]


def test_code_that_only_a_checkpoint_would_name_is_not_shaped(tmp_path: Path) -> None:
    shaper = LatencyShaper(MadeUpLatency(), "made up", 1.0, tmp_path, 8)
    with pytest.raises(InputError, match='not "mine:net"'):
        shaper.soften(torch.nn.Linear(2, 2), {"spec": "mine:net"}, Any, 1.0, True)  # type: ignore[arg-type]


def test_another_process_reads_what_the_leader_asked(tmp_path: Path) -> None:
    args = {"classes": 10, **STUDENT["args"]}  # type: ignore[dict-item]
    model = {"spec": "depthwise", "kwargs": args}
    network = models.build("depthwise", **args)
    task: Any = SimpleNamespace(input_shape=SHAPE, fixed_outputs=lambda net: [net.head])
    leader = LatencyShaper(MadeUpLatency(), "t", 1.0, tmp_path, 8)
    follower = LatencyShaper(latency := MadeUpLatency(), "t", 1.0, tmp_path, 8)
    with pytest.raises(InputError, match="start all processes again"):
        follower.soften(network, model, task, 1.0, False)
    first = leader.soften(models.build("depthwise", **args), model, task, 1.0, True)
    second = follower.soften(network, model, task, 1.0, False)
    assert second.identity == first.identity
    assert "ratio" not in second.shaped().facts
    assert latency.asked == 0


@pytest.mark.parametrize(
    ("unit", "text"),
    [("s", "1.5 ms"), ("instructions", "1.5M instructions"), ("MACs", "2M MACs")],
)
def test_a_latency_is_told_in_the_unit_of_its_predictor(unit: str, text: str) -> None:
    assert _text({"MACs": 2e6}.get(unit, 0.0015), unit) == text
