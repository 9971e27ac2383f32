"""Quantising: what is compared with what, with stubs; and a small student through the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from torch import nn

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.data.splits import TensorImages
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.task import Metric, Task
from tvmkd.quantize import quantizing
from tvmkd.stages import pipeline

SECTIONS: dict[str, Any] = {
    "project": {"name": "quantize"},
    "data": {"image_size": 16, "augment": "none"},
    "teacher": {"args": {"widths": [8], "depth": 1}, "epochs": 1},
    "student": {"model": "residual", "args": {"widths": [8, 16], "depth": 1}},
    "distill": {"loss": "kd", "epochs": 6, "seeds": [0], "baseline": False, "lr": 4e-3},
    "quantize": {"method": "ptq", "allow_slow": True},
    "compare": {"seconds": 0.1, "rounds": 2, "processes": 1},
}


class OnePixel(ClassificationTask):
    """Images of one pixel, without a data set."""

    def __init__(self, *values: float) -> None:
        pixels = torch.tensor(values).view(-1, 1, 1, 1)
        self._test = TensorImages(pixels, torch.zeros(len(values), dtype=torch.int64), [0.0], [1.0])

    def _images(self, _split: str) -> TensorImages:
        return self._test


def scaled(weight: float) -> nn.Sequential:
    """Gives class 1 where ``1.0 * x > weight * x``, that is where its second weight is smaller."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    network[1].weight = nn.Parameter(torch.tensor([[weight], [1.0]]))
    return network


def test_the_expected_answers_are_those_of_the_network_while_it_is_rounded() -> None:
    network, task = scaled(1.5), OnePixel(0.003, 2.0)

    def train() -> None:
        # In a layer that is rounded per channel only the inputs tell: 2.0 is the range's end.
        network.train()(torch.tensor([[[[0.0]]], [[[2.0]]]]))
        network[1].bias = nn.Parameter(torch.tensor([0.0, 0.001]))

    # 0.003 rounds to zero, where the bias decides; unrounded, the larger weight does.
    found = quantizing.judge_trained(network, (), train, task)
    assert found.answers.tolist() == [1, 0]
    assert found.score == 0.5
    plain = OnePixel(0.003).predict(network.eval(), "test")
    assert plain.tolist() == [0], "the rounding is gone"


def test_layers_in_fp32_are_not_rounded_while_training() -> None:
    network = scaled(1.5)

    def train() -> None:
        assert not hasattr(network[1], "rounded_input")

    quantizing.judge_trained(network, ["1"], train, OnePixel(1.0))


def test_onnx_runtime_runs_image_by_image_in_order(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        scaled (float[1, 1, 1, 1] input) => (float[1, 2] logits)
        <float[1, 2] weights = {1.5, 1.0}> {
            row = Flatten (input)
            logits = MatMul (row, weights)
        }"""
    )
    onnx.save(model, tmp_path / "m.onnx")
    values = [1.0 if number % 3 else -1.0 for number in range(7)]
    images = torch.tensor(values).view(-1, 1, 1, 1)
    found = quantizing.in_onnx_runtime(tmp_path / "m.onnx")(images)
    assert found.shape == (7, 2)
    assert found.argmax(1).tolist() == [0 if value > 0 else 1 for value in values]


class Fake(Task):
    """A task whose networks have a known score and known answers."""

    metrics = (Metric("mAP", label="mAP "),)
    classes = ("a", "b")
    input_shape = (1, 1, 1, 1)

    def __init__(self, known: dict[str, tuple[float, str]]) -> None:
        self.known = known
        self.restored = nn.Identity()

    def restore(self, _path: Path) -> nn.Module:
        return self.restored

    def samples(self, count: int, split: str = "test") -> Any:
        return np.zeros((count, 1), np.float32), split

    def measure(self, _network: Any, run: Any, split: Any, _team: Any = None) -> dict[str, float]:
        assert split == "test"
        return {"map": self.known[run][0], "other": 2.0}

    def answers(self, _network: Any, run: Any, split: Any) -> str | None:
        assert split == "test"
        return self.known[run][1]

    def agreement(self, first: str, second: str) -> float:
        return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)

    count = batches = check = loss = None  # type: ignore[assignment]


KNOWN = {
    **dict.fromkeys(("fp32.onnx", "in PyTorch"), (0.75, "01101010")),
    "student-int8.onnx": (0.5, "01100110"),
}
TRAINED = quantizing.Judged(0.625, "01100111")


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces all that trains, exports and times; returns what they were given."""
    given: dict[str, Any] = {}
    saved = SimpleNamespace(
        model={"spec": "residual", "kwargs": {}}, meta={"detector": "b", "training": "{}"}
    )

    def export(source: Any, path: Path, *_: Any, **kwargs: Any) -> Path:
        given[path.name] = source
        given["metadata"] = kwargs.get("metadata")
        return path

    def quantize(source: Path, final: Path, images: Any, keep: Any) -> Any:
        given["quantized"] = (source.name, keep)
        given["calibrated"] = (len(images[0]), images[1])
        return SimpleNamespace(quantized=3, kept=("head",))

    def timed(_cfg: Any, _target: Any, before: Path, after: Path, *_: Any) -> Any:
        given["timed"] = (before.name, after.name)
        return {"onnxruntime int8": 1.0}, {}

    given["task"] = Fake(KNOWN)
    monkeypatch.setattr(quantizing.tasks, "make", lambda *_: given["task"])
    monkeypatch.setattr(quantizing.checkpoint, "load", lambda _: saved)
    monkeypatch.setattr(quantizing, "export", export)
    monkeypatch.setattr(quantizing.qdq, "quantize", quantize)
    monkeypatch.setattr(quantizing, "in_onnx_runtime", lambda onnx: onnx.name)
    monkeypatch.setattr(
        quantizing,
        "_in_pytorch",
        lambda network: "in PyTorch" if network is given["task"].restored else None,
    )
    monkeypatch.setattr(quantizing, "judge_trained", lambda *_: TRAINED)
    monkeypatch.setattr(quantizing, "_time", timed)
    return given


def quantized(tmp_path: Path, method: str) -> dict[str, Any]:
    section = {"method": method, "allow_slow": True, "keep_fp32": ["head"]}
    cfg = config.parse({**SECTIONS, "quantize": section})
    target: Any = None
    return quantizing.quantize(cfg, target, tmp_path / "student.pt", tmp_path)


def test_after_training_the_int8_file_is_compared_with_the_fp32_file(
    tmp_path: Path, stubs: dict[str, Any]
) -> None:
    found = quantized(tmp_path, "ptq")
    assert (found["metric"], found["fp32_score"], found["int8_score"]) == ("mAP", 0.75, 0.5)
    assert found["agreement"] == 6 / 8
    assert "trained_score" not in found
    assert stubs["calibrated"] == (128, "train")
    assert stubs["quantized"] == ("fp32.onnx", ["head"])
    assert stubs["timed"] == ("fp32.onnx", "student-int8.onnx")
    assert (found["quantized"], found["kept"]) == (3, ["head"])


def test_with_training_the_int8_file_is_compared_with_the_trained_network(
    tmp_path: Path, stubs: dict[str, Any]
) -> None:
    found = quantized(tmp_path, "qat")
    assert (found["fp32_score"], found["int8_score"]) == (0.75, 0.5)
    assert (found["trained_score"], found["agreement"]) == (0.625, 7 / 8)
    assert stubs["metadata"] == {"detector": "b"}
    assert stubs["quantized"] == ("qat.onnx", ["head"])
    assert stubs["qat.onnx"] is stubs["task"].restored, "the trained network is exported"
    assert "fp32.onnx" not in stubs, "it takes seconds, and nothing reads it"
    assert stubs["timed"] == ("qat.onnx", "student-int8.onnx")


def test_with_training_branches_are_fused_first(tmp_path: Path, stubs: dict[str, Any]) -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * x + self.weight * x

        def fuse(self) -> nn.Module:
            whole = nn.Conv2d(1, 1, 1, bias=False)
            whole.weight.data = 2 * self.weight.reshape(1, 1, 1, 1)
            return whole

    twice = Twice()
    twice.weight = nn.Parameter(torch.ones(1))
    task = stubs["task"]
    task.restored, task.known = nn.Sequential(twice), {**KNOWN, None: KNOWN["in PyTorch"]}
    quantized(tmp_path, "qat")
    (layer,) = stubs["qat.onnx"]
    assert layer.weight.item() == 2.0
    assert task.restored[0] is twice


def test_a_task_without_answers_has_no_agreement(tmp_path: Path, stubs: dict[str, Any]) -> None:
    stubs["task"].known = {name: (score, None) for name, (score, _) in KNOWN.items()}
    found = quantized(tmp_path, "ptq")
    assert found["agreement"] is None
    assert "answers" not in quantizing.lines(found)[0]


def test_the_lines_for_a_terminal() -> None:
    found = {
        "quantized": 3, "kept": ["head"], "metric": "accuracy",
        "text": {"int8_score": "50.0%", "fp32_score": "75.0%"},
        "agreement": 0.875, "ms": {"a": 1.5}, "left_out": {"tvm int8": "no"},
    }  # fmt: skip
    what, times, left_out = quantizing.lines(found)
    assert what == (
        "3 layers in int8, 1 kept in fp32: accuracy 50.0%, in fp32 75.0%; 87.5% of the answers "
        "as expected"
    )
    assert (times, left_out) == ("a 1.500 ms", "tvm int8: left out: no")
    found |= {"metric": "mAP", "text": {"int8_score": "mAP 0.300", "fp32_score": "mAP 0.310"}}
    assert ": mAP 0.300, in fp32 mAP 0.310;" in quantizing.lines(found)[0]


def test_whether_int8_pays_is_said_of_each_engine_that_ran_both() -> None:
    ms = {"tvm fp32": 4.0, "tvm int8": 3.0, "b fp32": 2.0, "b int8": 2.5, "c int8": 1.0}
    assert quantizing.paid(ms) == [
        "int8 pays in tvm: 0.75 of the time in fp32",
        "int8 does not pay in b: 1.25 of the time in fp32",
    ]
    assert quantizing.paid({"c fp32": 1.0}) == []


@pytest.mark.slow
@pytest.mark.usefixtures("warm_worker")
def test_a_student_is_quantised_after_training_and_timed_and_with_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(method: str) -> dict[str, Any]:
        sections = {**SECTIONS, "project": {"name": "q", "out": str(tmp_path / "run")}}
        sections["quantize"] = {"method": method, "epochs": 2, "allow_slow": True}
        found: dict[str, Any] = pipeline.run(config.parse(sections), until="quantize")["quantize"]
        json.dumps(found)
        assert found["quantized"] == 8
        assert found["agreement"] > 0.95
        assert found["int8_score"] > found["fp32_score"] - 0.05
        return found

    found = run("ptq")
    assert {"onnxruntime fp32", "onnxruntime int8"} <= set(found["ms"])
    assert set(found["ms"]) | set(found["left_out"]) == {
        "onnxruntime fp32",
        "onnxruntime int8",
        "tvm fp32",
        "tvm int8",
    }
    assert "trained_score" not in found
    monkeypatch.setattr(quantizing, "_time", lambda *_: ({}, {}))
    assert run("qat")["trained_score"] > found["fp32_score"] - 0.05
    assert (tmp_path / "run/student-int8.onnx").is_file()


def test_what_tvm_does_not_build_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd import bench, export

    def build(onnx: Path, _target: Any, _records: Any, out: Path, **_: Any) -> None:
        if onnx.name == "int8.onnx":
            raise InputError(f"{onnx.name}: differs from ONNX Runtime")

    def compare(specs: Any, *_: Any, **__: Any) -> Any:
        engines = [SimpleNamespace(name=spec.name, p50=float(n)) for n, spec in enumerate(specs)]
        return SimpleNamespace(
            engines=engines, left_out=[SimpleNamespace(name="onnxruntime int8", reason="slow")]
        )

    monkeypatch.setattr(quantizing, "build", build)
    monkeypatch.setattr(bench, "compare", compare)
    monkeypatch.setattr(
        export, "check", lambda _: SimpleNamespace(inputs=[SimpleNamespace(name="x")])
    )
    target: Any = SimpleNamespace(name="host", runs_here=lambda: None)
    cfg = config.parse(SECTIONS)
    files = (tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    times, left_out = quantizing._time(cfg, target, *files, np.zeros((2, 1)), tmp_path)
    assert times == {"onnxruntime fp32": 0.0, "onnxruntime int8": 1.0, "tvm fp32": 2.0}
    assert left_out == {
        "tvm int8": "int8.onnx: differs from ONNX Runtime",
        "onnxruntime int8": "slow",
    }
    target.runs_here = lambda: "another machine"
    times, _ = quantizing._time(cfg, target, *files, np.zeros((2, 1)), tmp_path)
    assert set(times) == {"onnxruntime fp32", "onnxruntime int8"}


def test_a_target_where_it_does_not_pay_is_refused_before_any_training(tmp_path: Path) -> None:
    sections = {**SECTIONS, "project": {"name": "q", "out": str(tmp_path / "run")}}
    sections |= {"quantize": {"method": "ptq"}, "target": {"name": "jetson-nano-gpu"}}
    with pytest.raises(InputError, match="jetson-nano-gpu: int8 does not pay there: sm_53"):
        pipeline.run(config.parse(sections), until="quantize")
    assert not (tmp_path / "run").exists()
