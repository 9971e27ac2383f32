from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from detector_files import onnx_detector

from tvmkd import artifact
from tvmkd.base.errors import InputError
from tvmkd.base.manifest import Manifest
from tvmkd.deploy.streaming import model as models
from tvmkd.early_exit import runtime as early_exit
from tvmkd.early_exit.runtime import EarlyExit
from tvmkd.runtime.standalone_program import Late

MANIFEST = Manifest.model_validate(
    {
        "name": "student",
        "created": "now",
        "tvmkd_version": "0.1.0",
        "target": {"name": "host"},
        "stack": "relax",
        "stack_version": "0.27",
        "onnx_sha256": "0" * 64,
        "inputs": [{"name": "input", "shape": [1, 2], "dtype": "float32"}],
        "outputs": [{"name": "logits", "shape": [1, 2], "dtype": "float32"}],
        "files": {},
        "metadata": {"classes": "[]"},
    }
)


class Opened:
    """An artifact, or a piece of a network: gives logits, and features where it is not last."""

    manifest = MANIFEST

    def __init__(self, *logits: float, last: bool = True) -> None:
        self.logits, self.last = np.array([logits], np.float32), last

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [self.logits] if self.last else [self.logits, arrays[0]]


def test_an_onnx_file(tmp_path: Path) -> None:
    model = models.open_model(onnx_detector(tmp_path / "d.onnx"), threads=1)
    assert (model.name, model.exits, model.target) == ("d", 1, {})
    assert model.runtime.startswith("ONNX Runtime")
    assert model.inputs[0].shape == [1, 3, 32, 32]
    outputs, taken = model.run([np.zeros((1, 3, 32, 32), np.float32)], 0)
    assert len(outputs) == 2
    assert taken == 0


def test_an_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr(artifact, "load", lambda path: Opened(1.0, 2.0))
    model = models.open_model(tmp_path)
    assert (model.name, model.target["name"], model.exits) == ("student", "host", 1)
    assert model.metadata == {"classes": "[]"}
    outputs, taken = model.run([np.zeros((1, 2), np.float32)], 0)
    assert outputs[0].tolist() == [[1.0, 2.0]]
    assert taken == 0


class WithExits(Opened):
    """A standalone library with an early exit, which is late with every deadline below 10."""

    manifest = MANIFEST.model_copy(
        update={"runtime": "standalone", "exits": {"thresholds": [0.9], "pieces": {}}}
    )

    def run_until(
        self, arrays: list[np.ndarray], deadline: int | None
    ) -> tuple[list[np.ndarray], int]:
        if deadline is not None and deadline < 10:
            raise Late("even the first exit would be late")
        return [self.logits], 1 if deadline is None or deadline > 100 else 0

    def run_exit(self, arrays: list[np.ndarray], index: int) -> list[np.ndarray]:
        return [self.logits + 1]


@pytest.mark.parametrize(
    ("exit_early", "deadline", "taken", "first"),
    [(True, 200, 1, 1.0), (True, 50, 0, 1.0), (True, 5, 0, 2.0), (False, 5, 1, 1.0)],
)
def test_a_library_with_exits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exit_early: bool,
    deadline: int,
    taken: int,
    first: float,
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr(artifact, "load", lambda path: WithExits(1.0, 2.0))
    model = models.open_model(tmp_path, exit_early)
    assert model.exits == 2
    assert model.runtime == "its own library (relax 0.27)"
    outputs, exit_taken = model.run([np.zeros((1, 2), np.float32)], deadline)
    assert (exit_taken, outputs[0][0, 0]) == (taken, first)


class WithFrames(Opened):
    """A standalone library with pre-processing, which is late with every deadline below 10."""

    manifest = MANIFEST.model_copy(
        update={
            "runtime": "standalone",
            "frames": {"task": "classify"},
            "exits": {"thresholds": [0.9]},
        }
    )

    def __init__(self) -> None:
        self.asked: list[dict[str, int]] = []

    def run_frame(self, frame: np.ndarray, order: str, **settings: int) -> Any:
        assert order == "RGB"
        self.asked.append(settings)
        if settings.get("deadline_ns", 10) < 10:
            raise Late("even the first exit would be late")
        return SimpleNamespace(times={"prepare": 3, "model": 4}, exit_taken=-1)


@pytest.mark.parametrize(
    ("exit_early", "deadline", "asked"),
    [
        (False, 5, [{}]),
        (True, 50, [{"deadline_ns": 50}]),
        (True, 5, [{"deadline_ns": 5}, {}]),
    ],
)
def test_a_library_that_takes_frames(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exit_early: bool,
    deadline: int,
    asked: list[dict[str, int]],
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    opened = WithFrames()
    monkeypatch.setattr(artifact, "load", lambda path: opened)
    model = models.open_model(tmp_path, exit_early)
    assert model.run_frame is not None
    assert model.run_frame(np.zeros((2, 2, 3), np.uint8), deadline) == models.Whole(3, 4, 0)
    assert opened.asked == asked


@pytest.mark.parametrize(("exit_early", "taken"), [(True, 0), (False, 1)])
def test_exits_are_taken_for_lack_of_time_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_early: bool, taken: int
) -> None:
    (tmp_path / early_exit.EXITS).write_text("{}")
    pieces: list[Any] = [Opened(0.0, 0.0, last=False), Opened(0.0, 5.0)]
    network = EarlyExit(pieces, [0.9])
    monkeypatch.setattr(early_exit, "load", lambda path: network)
    model = models.open_model(tmp_path, exit_early)
    assert model.exits == 2
    image = np.zeros((1, 2), np.float32)
    assert model.run([image], 1 << 62)[1] == 1  # the first time there is time, and it is measured
    assert model.run([image], 0)[1] == taken


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such artifact"):
        models.open_model(tmp_path / "none")
    with pytest.raises(InputError, match="not an artifact"):
        models.open_model(tmp_path)
