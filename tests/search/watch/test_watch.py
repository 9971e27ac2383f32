"""Watching a training: the times are invented, the training is real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small import small

from tvmkd import targets
from tvmkd.base.errors import GateFailure, InternalError, MissingError, WorkerDied
from tvmkd.distill import Result, distill, tasks
from tvmkd.models import checkpoint
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.search.watch import entries, opening
from tvmkd.search.watch import watch as module
from tvmkd.search.watch.watch import RUNS, WARM_UP, Watch

CFG = small(data={"augment": "none"}, distill={"loss": "ce", "seeds": [0], "epochs": 4})


class Board:
    """Stands in for `RemoteModel`: each measurement takes the next of ``medians``, ms."""

    def __init__(self, *medians: float, emulated: bool = False) -> None:
        self.medians, self.emulated = list(medians), emulated
        self.runs: list[int] = []
        self.closed = 0
        self.facts = {"board": "127.0.0.1:9090"}

    def __call__(self, *_: Any) -> Board:
        return self

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed += 1

    def time(self, arrays: list[Any], count: int) -> list[float]:
        assert [array.shape for array in arrays] == [(1, 1, 8, 8)]
        self.runs.append(count)
        if count == WARM_UP:
            self._now = self.medians.pop(0) if len(self.medians) > 1 else self.medians[0]
            return [1.0] * count
        return [self._now * 1e-3] * (count - 1) + [self._now * 1.5e-3]


class Artifacts:
    """Stands in for the artifacts."""

    def __init__(self) -> None:
        self.networks: list[Any] = []

    def of(self, network: Any) -> tuple[Path, Any]:
        self.networks.append(network)
        spec = SimpleNamespace(
            model_dump=lambda: {"name": "x", "shape": [1, 1, 8, 8], "dtype": "float32"}
        )
        coverage = {"tasks": 14, "tuned": 11}
        manifest = SimpleNamespace(inputs=[spec], library="model.so", coverage=coverage)
        return Path("abc123/artifact"), manifest


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(2.0)
    monkeypatch.setattr(module, "RemoteModel", made)
    return made


def watching(folder: Path, every: float = 0.0, budget: float = 8.0, here: bool = True) -> Watch:
    boards: Any = SimpleNamespace(address=dict, stack="relax", close=lambda: None)
    return Watch(
        folder,
        tasks.make(CFG),
        targets.load("host"),
        boards,
        Artifacts(),  # type: ignore[arg-type]
        budget,
        every,
        "baseline",
        here,
    )


def train(folder: Path, watch: Watch) -> Result:
    return distill(CFG, folder, after_checkpoint=watch, checkpoint_seconds=0)


def test_each_checkpoint_is_timed_a_hundred_times_beside_its_accuracy(
    tmp_path: Path, board: Board, capfd: pytest.CaptureFixture[str]
) -> None:
    watch = watching(tmp_path)
    result = train(tmp_path, watch)
    watch.finish(result)
    found = json.loads(result.metrics.read_text())["watch"]
    assert [entry["epoch"] for entry in found] == [1, 2, 3, 4]
    first = found[0]
    assert (first["p50"], first["p95"]) == (pytest.approx(2.0), pytest.approx(2.0))
    assert 2.0 < first["p99"] <= 3.0
    assert (first["tasks"], first["tuned"], first["structure"]) == (14, 11, "abc123")
    assert first["board"] is None
    assert found[-1]["score"] == pytest.approx(result.chosen.val_accuracy)
    assert sum(board.runs) == 4 * (WARM_UP + RUNS)
    assert board.closed == 4
    text = capfd.readouterr().err
    assert "baseline-0, epoch 1: p50 2 ms, p95 2, p99 3 of 8 ms, validation" in text
    assert not watch._artifacts.networks[0]._forward_hooks, "what the checkpoint holds"


def test_measurements_are_as_far_apart_as_asked_and_the_end_is_measured(
    tmp_path: Path, board: Board
) -> None:
    watch = watching(tmp_path, every=3600.0)
    result = train(tmp_path, watch)
    assert [entry.epoch for entry in entries.read(tmp_path)] == [1]
    watch.finish(result)
    assert [entry.epoch for entry in entries.read(tmp_path)] == [1, 4]
    watch.finish(result)
    assert len(entries.read(tmp_path)) == 2, "it is measured"


def test_over_the_budget_the_training_ends_with_a_line_and_its_checkpoint(
    tmp_path: Path, board: Board
) -> None:
    board.medians = [2.0, 9.5, 9.1, 9.2]
    with pytest.raises(GateFailure) as caught:
        train(tmp_path, watching(tmp_path))
    text = str(caught.value)
    assert "baseline-0, epoch 2: over the budget of 8 ms ([distill] watch): p50 9.1 ms, p99" in text
    assert "3 of its 14 kernels are not tuned" in text
    assert f"the checkpoint is {tmp_path / 'students' / 'baseline-0.pt'}" in text
    assert "\n" not in text
    assert caught.value.exit_code == 1
    assert checkpoint.load(tmp_path / "students" / "baseline-0.pt").epoch == 2
    assert [entry.over for entry in entries.read(tmp_path)] == [False, True]


def test_a_disturbed_measurement_is_made_again(tmp_path: Path, board: Board) -> None:
    board.medians = [9.0, 30.0, 2.0]
    train(tmp_path, watching(tmp_path))
    assert all(not entry.over for entry in entries.read(tmp_path))


def test_started_again_it_goes_on_and_says_no_again(tmp_path: Path, board: Board) -> None:
    board.medians = [2.0, 9.0]
    with pytest.raises(GateFailure):
        train(tmp_path, watching(tmp_path))
    board.medians = [2.0]
    watch = watching(tmp_path)
    watch.finish(train(tmp_path, watch))
    assert [entry.epoch for entry in entries.read(tmp_path)] == [1, 2, 3, 4]
    # All is trained: no checkpoint is written any more, and the budget is another.
    strict = watching(tmp_path, budget=1.0)
    result = train(tmp_path, strict)
    with pytest.raises(GateFailure, match="epoch 4: over the budget of 1 ms"):
        strict.finish(result)
    assert json.loads(result.metrics.read_text())["watch"][-1]["budget"] == 1.0


def test_another_configuration_s_measurements_are_not_in_the_metrics(
    tmp_path: Path, board: Board
) -> None:
    train(tmp_path, watching(tmp_path))
    cfg = small(
        data={"augment": "none"}, distill={"loss": "ce", "seeds": [0], "epochs": 3, "lr": 1e-3}
    )
    watch = watching(tmp_path)
    result = distill(cfg, tmp_path, after_checkpoint=watch, checkpoint_seconds=0)
    watch.finish(result)
    found = json.loads(result.metrics.read_text())["watch"]
    assert [entry["epoch"] for entry in found] == [1, 2, 3]
    assert len({entry["identity"] for entry in found}) == 1


def test_only_students_that_may_be_deployed_are_watched(tmp_path: Path, board: Board) -> None:
    watch = watching(tmp_path)
    watch(tmp_path / "distilled-0.pt", 1, torch.nn.Linear(1, 1))
    assert board.runs == []


def test_a_board_that_is_away_ends_no_training(
    tmp_path: Path, board: Board, capfd: pytest.CaptureFixture[str]
) -> None:
    watch = watching(tmp_path, here=False)

    def away() -> Any:
        raise MissingError("no board is free")

    watch._boards.address = away  # type: ignore[method-assign]
    result = train(tmp_path, watch)
    assert "baseline-0, epoch 1: not measured: no board is free" in capfd.readouterr().err
    with pytest.raises(MissingError, match="no board is free"):
        watch.finish(result)
    assert json.loads(result.metrics.read_text())["watch"] == []


def test_an_emulated_board_measures_nothing(tmp_path: Path, board: Board) -> None:
    board.emulated = True
    watch = watching(tmp_path, here=False)
    with pytest.raises(MissingError, match="is emulated, and its times mean nothing"):
        watch.finish(train(tmp_path, watch))
    assert board.closed > 0


def test_a_board_is_named(tmp_path: Path, board: Board) -> None:
    train(tmp_path, watching(tmp_path, here=False))
    assert entries.read(tmp_path)[0].board == "127.0.0.1:9090"


def test_while_the_structure_is_learnt_nothing_ends(
    tmp_path: Path, board: Board, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    train(tmp_path / "run", watching(tmp_path / "other"))
    board.medians = [9.0]
    watch = watching(tmp_path, every=3600.0)
    network = DepthwiseNet(stem=8, blocks=[(8, 1)])
    path = tmp_path / "run" / "students" / "baseline-0.pt"
    for epoch in (1, 2):
        watch.while_shaping(path, epoch, network)
    (entry,) = entries.read(tmp_path)
    assert (entry.shaping, entry.over, entry.epoch) == (True, True, 1)
    assert "epoch 1 (structure not settled): p50 9 ms" in capfd.readouterr().err


@pytest.mark.rpc
@pytest.mark.slow
@pytest.mark.usefixtures("warm_worker")
def test_a_student_is_really_built_and_run(tmp_path: Path) -> None:
    cfg = CFG.model_copy(update={"distill": CFG.distill.model_copy(update={"watch": "10s"})})
    target, task = targets.load("host"), tasks.make(cfg)
    with opening.open_watch(cfg, target, tmp_path, task, []) as watch:
        watch.finish(train(tmp_path, watch))
    first, last = entries.read(tmp_path)
    assert first.structure == last.structure
    assert 0 < first.p50 <= first.p95 <= first.p99 < 1000
    assert 0 <= first.tuned <= first.tasks != 0
    assert (tmp_path / "watch" / first.structure / "artifact" / "model.so").is_file()


@pytest.mark.parametrize("error", [InternalError("RPCError: reset"), WorkerDied("it crashed")])
def test_a_board_that_is_lost_costs_the_measurement(
    tmp_path: Path,
    board: Board,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    real, left = board.time, [1]

    def time(arrays: list[Any], count: int) -> list[float]:
        if left:
            left.pop()
            raise error
        return real(arrays, count)

    monkeypatch.setattr(board, "time", time)
    watch = watching(tmp_path)
    train(tmp_path, watch)
    assert f"epoch 1: not measured: the board was lost ({error})" in capfd.readouterr().err
    assert [entry.epoch for entry in entries.read(tmp_path)] == [2, 3, 4]
