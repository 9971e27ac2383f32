"""The examples in the pages on how to add something work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docs_pages as pages
import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from tvmkd import config
from tvmkd.base import stack_registry
from tvmkd.bench.engines import create
from tvmkd.bench.spec import EngineSpec
from tvmkd.config import tomllib
from tvmkd.distill import losses, tasks
from tvmkd.stacks import worker
from tvmkd.stacks.base import METHODS


def programs(page: str) -> list[str]:
    return [text for place, text in pages.blocks("python") if place.startswith(f"docs/{page}:")]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python imports from."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.split(".")[0] in ("mypackage", "mystack", "my_losses", "my_task"):
            del sys.modules[name]


@pytest.fixture
def matmul(tmp_path: Path) -> Path:
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "matmul",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_the_engine(package: Path, matmul: Path) -> None:
    (text,) = programs("how-to/add-engine.md")
    (package / "mypackage").mkdir()
    (package / "mypackage" / "numpy_engine.py").write_text(text)
    inputs = {"x": np.ones((1, 3), np.float32)}
    spec = EngineSpec("mine", "mypackage.numpy_engine:NumpyMatMul", matmul)
    with create(spec, threads=1) as engine:
        engine.prepare(inputs)
        (found,) = engine.infer(inputs)
        assert found.tolist() == [[6.0, 9.0]]
        assert engine.facts() == {"version": np.__version__}


def test_the_stack(package: Path, matmul: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, text = programs("how-to/add-stack.md")
    scope: dict[str, Any] = {}
    exec(entry, scope)
    (package / "mystack").mkdir()
    (package / "mystack" / "stack.py").write_text(text)
    (package / "mystack" / "backend.py").write_text("def import_compiler(): pass\n")
    monkeypatch.setattr(
        stack_registry, "STACKS", (*stack_registry.STACKS, scope["ENTRY"]), raising=True
    )
    worker._stack.cache_clear()
    handlers = worker.handlers("mystack")
    assert set(handlers) == set(METHODS)
    assert handlers["available"]({}, print)["reason"] is None
    lowered = handlers["lower"]({"onnx": str(matmul), "target": {}}, print)
    assert [(task["name"], task["weight"]) for task in lowered["tasks"]] == [("MatMul", 1)]
    assert all(callable(getattr(worker._stack("mystack"), method)) for method in METHODS)
    worker._stack.cache_clear()


def test_the_loss(package: Path) -> None:
    text, _ = programs("how-to/add-loss.md")
    (package / "my_losses.py").write_text(text)
    settings = next(
        tomllib.loads(text) for place, text in pages.blocks("toml") if "my_losses" in text
    )
    cfg = config.parse({"project": {"name": "a"}, **settings})
    loss = losses.make(cfg.distill, [package])
    assert isinstance(loss, losses.SoftLoss)
    teacher = torch.tensor([[4.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
    labels = torch.tensor([0, 1])
    hard = 0.1 * torch.nn.functional.cross_entropy(teacher, labels)
    assert torch.isclose(loss(teacher, teacher, labels), hard, atol=1e-5)
    student = torch.zeros(2, 3, requires_grad=True)
    loss(student + torch.eye(2, 3), teacher, labels, torch.tensor([0.5, 1.5])).backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_the_task(package: Path) -> None:
    _, text = programs("how-to/add-loss.md")
    (package / "my_task.py").write_text(text)
    data = {"task": "my_task:BalancedClassification"}
    task = tasks.make(config.parse({"project": {"name": "a"}, "data": data}), [package])

    def only_zeros(images: torch.Tensor) -> torch.Tensor:
        return torch.eye(10)[torch.zeros(len(images), dtype=torch.long)]

    found = task.measure(torch.nn.Identity(), only_zeros, "val")
    assert found == {task.metric.key: pytest.approx(0.1)}
