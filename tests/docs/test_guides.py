"""The examples in the pages on how to add something work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pages
import pytest
from onnx import helper, numpy_helper

from tvmkd.base import stack_registry
from tvmkd.bench.engines import create
from tvmkd.bench.spec import EngineSpec
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
        if name.split(".")[0] in ("mypackage", "mystack"):
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
    lowered = handlers["lower"]({"onnx": matmul, "dims": {}}, print)
    assert [(task["name"], task["weight"]) for task in lowered["tasks"]] == [("MatMul", 1)]
    assert all(callable(getattr(worker._stack("mystack"), method)) for method in METHODS)
    worker._stack.cache_clear()
