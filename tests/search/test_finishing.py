from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from torch import nn

from tvmkd import config, models
from tvmkd.base.errors import InputError
from tvmkd.config import Config
from tvmkd.distill import tasks
from tvmkd.distill.classification import ClassificationTask
from tvmkd.models import checkpoint as files
from tvmkd.models import registry
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.prune.channels import widths
from tvmkd.search import finishing
from tvmkd.search.latency import skeleton

ARGS: dict[str, Any] = {"stem": 16, "blocks": [[32, 2]], "classes": 10}


def cfg(**sections: Any) -> Config:
    data = {"project": {"name": "a"}, "data": {"image_size": 16, "augment": "none"}}
    student = {"model": "depthwise", "args": {"stem": 16, "blocks": [[32, 2]]}, "images": 60}
    return config.parse({**data, "student": student, "distill": {"loss": "ce"}, **sections})


@pytest.fixture(scope="module")
def task() -> ClassificationTask:
    found = tasks.make(cfg())
    assert isinstance(found, ClassificationTask)
    return found


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.pt"
    network = models.build("depthwise", **ARGS)
    files.save(path, files.Checkpoint({"spec": "depthwise", "kwargs": ARGS}, network.state_dict()))
    return path


def test_what_is_final_after_its_training() -> None:
    assert finishing.is_final(cfg())
    assert not finishing.is_final(cfg(prune={"ratio": 0.5}))
    assert not finishing.is_final(cfg(quantize={}, export={"precision": "int8"}))
    assert not finishing.is_final(cfg(export={"precision": "fp16"}))


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the right structure, in a twentieth of the time."""

    def export(source: Path, out: Path, shape: Any, **_: Any) -> Path:
        saved = files.load(source)
        network = models.build(saved.model["spec"], **saved.model["kwargs"])
        return skeleton.write(network, shape, out)

    monkeypatch.setattr(finishing, "export", export)


def test_a_pruned_student_is_judged_as_what_is_left_of_it(
    task: ClassificationTask, student: Path, tmp_path: Path, quick_export: None
) -> None:
    pruned = cfg(prune={"ratio": 0.5, "steps": 1, "epochs": 1})
    found = finishing.finish(pruned, task, student, tmp_path, tmp_path / "a", 8)
    network = task.restore(tmp_path / "a" / "pruned.pt")
    full = widths(task.restore(student))
    assert widths(network) == {name: count // 2 for name, count in full.items()}
    assert found.score == task.score(network, "val")
    assert found.test == task.score(network, "test")
    weights = {tuple(entry.dims) for entry in onnx.load(str(found.onnx)).graph.initializer}
    assert (10, 16) in weights  # of the dense layer, which had 32 inputs
    # Where no channel can go at that multiple, it stays the student.
    same = finishing.finish(pruned, task, student, tmp_path, tmp_path / "b", 32)
    assert same.score == task.score(task.restore(student), "val")
    assert not (tmp_path / "b" / "pruned.pt").exists()


class Branches(DepthwiseNet):
    """A student whose stem is fused by a method that knows nothing of pruning."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.features[0] = Stem()


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(1, 16, 3, 2, 1, bias=False) for _ in range(2))

    def forward(self, x: Any) -> Any:
        return self.first(x) + self.second(x)

    def fuse(self) -> nn.Module:
        whole = nn.Conv2d(1, 16, 3, 2, 1, bias=False)
        whole.weight.data = self.first.weight + self.second.weight
        return whole


def test_branches_are_fused_before_channels_go(
    task: ClassificationTask,
    tmp_path: Path,
    quick_export: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(registry._OURS, "branches", f"{__name__}:Branches")
    state = models.build("branches", **ARGS).state_dict()
    assert "features.0.second.weight" in state
    path = tmp_path / "student.pt"
    files.save(path, files.Checkpoint({"spec": "branches", "kwargs": ARGS}, state))
    pruned = cfg(prune={"ratio": 0.5, "steps": 1, "epochs": 1})
    found = finishing.finish(pruned, task, path, tmp_path, tmp_path / "a", 8)
    network = task.restore(tmp_path / "a" / "pruned.pt")
    assert network.get_parameter("features.0.weight").shape[0] == 8
    assert found.score == task.score(network, "val")


def test_pruning_takes_no_user_code(task: ClassificationTask, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    files.save(path, files.Checkpoint({"spec": "mine:net", "kwargs": {}}, {}))
    with pytest.raises(InputError, match=r'prune takes students of tvmkd.*not "mine:net"'):
        finishing.finish(cfg(prune={"ratio": 0.5}), task, path, tmp_path, tmp_path / "a", 8)


@pytest.mark.slow  # exports and calibrates
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_another_precision(
    task: ClassificationTask, student: Path, tmp_path: Path, precision: str
) -> None:
    sections: dict[str, Any] = {"export": {"precision": precision}}
    if precision == "int8":
        sections["quantize"] = {"method": "ptq", "images": 8}
    found = finishing.finish(cfg(**sections), task, student, tmp_path, tmp_path / "a", 8)
    full = task.score(task.restore(student), "val")
    assert found.score == pytest.approx(full, abs=0.05)
    operators = {node.op_type for node in onnx.load(str(found.onnx)).graph.node}
    assert ("QuantizeLinear" in operators) == (precision == "int8")
    if precision == "int8":
        # The file that was judged is there too, with its own scales.
        files_of = [path.name for path in (tmp_path / "a").glob("int8*.onnx")]
        assert sorted(files_of) == ["int8-kernels.onnx", "int8.onnx"]
        assert found.onnx.read_bytes() != (tmp_path / "a" / "int8.onnx").read_bytes()
    kinds = {entry.data_type for entry in onnx.load(str(found.onnx)).graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in kinds) == (precision == "fp16")
