"""The search for the first operator that differs; a fake compiler makes chosen ones wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest

from tvmkd.base.agreement import Result, Verdict
from tvmkd.base.errors import InputError
from tvmkd.stacks import first_difference
from tvmkd.stacks.first_difference import BUILDS, TENSORS, Found, find, line

SAMPLE = {"x": np.zeros((1, 4), np.float32)}


class Compiler:
    """Makes the outputs wrong that are computed from one of ``wrong``; notes each part."""

    def __init__(self, *wrong: str, crash: bool = False, fail: bool = False) -> None:
        self._wrong, self._crash, self._fail = set(wrong), crash, fail
        self.parts: list[list[str]] = []

    def __call__(self, part: Path, samples: Sequence[Any]) -> Verdict:
        model = onnx.load(part)
        onnx.checker.check_model(model)
        if self._fail:
            raise InputError("cannot be compiled")
        names = [entry.name for entry in model.graph.output]
        self.parts.append(names)
        (sample,) = samples
        assert set(sample) == {entry.name for entry in model.graph.input}
        results = tuple(
            Result(name, not self._bad(model, name), reason=f'output "{name}" differs: {name}')
            for name in names
        )
        wrong = [result for result in results if not result.agrees]
        if wrong and self._crash:
            return Verdict(False, np.inf, "the worker ended with signal SIGSEGV")
        return Verdict(not wrong, 0.5 if wrong else 0.0, "", results)

    def _bad(self, model: onnx.ModelProto, name: str) -> bool:
        makers = {out: node for node in model.graph.node for out in node.output}
        node = makers.get(name)
        if node is None:
            return False
        return name in self._wrong or any(self._bad(model, each) for each in node.input)


def chain(path: Path, length: int) -> Path:
    """``t0.0`` to ``t{length-1}.0``, one read by the next."""
    g = graphs.Graph(1, 4)
    for _ in range(length):
        g.add("Tanh")
    return g.save(path)


def search(path: Path, output: str, compiler: Compiler) -> tuple[Found | None, list[str]]:
    said: list[str] = []
    found = find(
        path, output, SAMPLE, compiler, lambda _, data: said.append(data["text"]), "differs by 1"
    )
    assert len(said) == len(compiler.parts)
    return found, said


@pytest.mark.parametrize("at", [0, 1, 11, 12, 38, 39])
def test_the_first_wrong_operator_of_a_chain_is_found_in_two_parts(at: int, tmp_path: Path) -> None:
    compiler = Compiler(f"t{at}.0")
    found, _ = search(chain(tmp_path / "m.onnx", 40), "t39.0", compiler)
    reason = "differs by 1" if at == 39 else f"differs: t{at}.0"
    assert found == Found("Tanh", f"n{at}", reason, True)
    assert len(compiler.parts) <= 2
    assert all(len(part) <= TENSORS for part in compiler.parts)


def test_a_single_operator_needs_no_part(tmp_path: Path) -> None:
    compiler = Compiler("t0.0")
    found, _ = search(chain(tmp_path / "m.onnx", 1), "t0.0", compiler)
    assert found == Found("Tanh", "n0", "differs by 1", True)
    assert compiler.parts == []


def test_what_the_wrong_output_does_not_read_is_not_looked_at(tmp_path: Path) -> None:
    g = graphs.Graph(1, 4)
    left = g.add("Tanh")
    g.add("Exp")
    right = g.add("Sigmoid", data="x")
    end = g.add("Add", left, data=right)
    beside = g.add("Neg", data="t1.0")
    compiler = Compiler("t2.0", "t1.0")
    found, _ = search(g.save(tmp_path / "m.onnx", end, beside), end, compiler)
    assert found is not None
    assert (found.operator, found.node, found.exact) == ("Sigmoid", "n2", True)
    assert compiler.parts == [["t0.0", "t2.0"]]


def test_a_library_that_crashes_is_searched_tensor_by_tensor(tmp_path: Path) -> None:
    compiler = Compiler("t2.0", crash=True)
    found, _ = search(chain(tmp_path / "m.onnx", 6), "t5.0", compiler)
    assert found is not None
    assert (found.node, found.exact) == ("n2", True)
    assert "SIGSEGV" in found.reason
    assert all(len(part) == 1 for part in compiler.parts[1:])
    assert len(compiler.parts) <= BUILDS


def test_where_no_part_can_be_compiled_the_last_operator_bounds_it(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.onnx", 3)
    found = find(path, "t2.0", SAMPLE, Compiler(fail=True), lambda *_: None, "differs by 1")
    assert found == Found("Tanh", "n2", "differs by 1", False)


def test_after_its_time_it_says_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 59.0, 61.0])
    monkeypatch.setattr(first_difference.time, "monotonic", lambda: next(clock))
    compiler = Compiler("t30.0")
    found, _ = search(chain(tmp_path / "m.onnx", 200), "t199.0", compiler)
    assert found is not None
    assert not found.exact
    assert len(compiler.parts) == 1


def test_an_output_that_no_operator_computes_names_none(tmp_path: Path) -> None:
    g = graphs.Graph(1, 4)
    g.add("Identity")
    assert find(g.save(tmp_path / "m.onnx"), "x", SAMPLE, Compiler(), lambda *_: None, "") is None


def test_sizes_come_from_the_sample(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.onnx", 3)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, path)
    sizes: list[int] = []

    def attempt(part: Path, _: Any) -> Verdict:
        shape = onnx.load(part).graph.input[0].type.tensor_type.shape
        sizes.extend(dim.dim_value for dim in shape.dim)
        return Verdict(True, 0.0, "", (Result("t0.0", True), Result("t1.0", True)))

    find(path, "t2.0", SAMPLE, attempt, lambda *_: None, "")
    assert sizes == [1, 4]


FOUND = Found("Resize", "up", "differs by 0.4 of its spread: 1 at [0], ONNX Runtime has 2", True)


def test_the_line_names_file_operator_node_values_and_what_to_do() -> None:
    assert line(Path("a/m.onnx"), FOUND, "", ["relay"]) == (
        "a/m.onnx: Resize (node 'up'): compiled, its output differs by 0.4 of its spread: "
        "1 at [0], ONNX Runtime has 2; try --stack relay or another operator"
    )
    vague = Found("Resize", "up", "differs", False)
    assert "in or before Resize (node 'up')" in line(Path("m.onnx"), vague, "", [])
    assert line(Path("m.onnx"), None, 'output "y" differs', []) == (
        'm.onnx: output "y" differs; try another operator'
    )


@pytest.mark.parametrize("length", [100, 300])
def test_a_long_path_or_node_stays_one_short_line_with_the_file(length: int) -> None:
    found = Found("Resize", "/".join(["block"] * 50), "differs " * 30, True)
    text = line(Path("d" * length) / "model.onnx", found, "", ["relay"])
    assert len(text) <= 280
    assert "model.onnx" in text
