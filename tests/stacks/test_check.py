"""The numeric check: its tolerance and samples at their edges, and a library that crashes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tvmkd.base import wire
from tvmkd.base.errors import InputError, MissingError, TvmkdError, WorkerDied
from tvmkd.stacks import check
from tvmkd.stacks.check import RANDOM_SAMPLES, Reference, compare, real_samples

WANTED = [[np.array([[2.0, -4.0, 0.0]], np.float32), np.array([1.0], np.float32)]]
ALLOWED = 1e-3


def shifted(error: float, output: int = 0, at: int = 0) -> dict[str, np.ndarray]:
    """The outputs with ``error`` of the output's largest magnitude added to one value."""
    found = {f"0.{j}": array.astype(np.float64) for j, array in enumerate(WANTED[0])}
    flat = found[f"0.{output}"].reshape(-1)
    flat[at] += error * np.abs(WANTED[0][output]).max()
    return found


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize(
    ("error", "agrees"), [(0.0, True), (0.999e-3, True), (1.001e-3, False), (2e-3, False)]
)
def test_an_error_above_the_tolerance_does_not_agree(
    error: float, agrees: bool, output: int
) -> None:
    for sign in (1, -1):
        verdict = compare(WANTED, shifted(sign * error, output), ALLOWED)
        assert verdict.agrees is agrees
        assert verdict.error == pytest.approx(error)
        assert bool(verdict.reason) is not agrees


def test_an_error_of_exactly_the_tolerance_agrees() -> None:
    wanted, found = [[np.array([1.0])]], {"0.0": np.array([1.5])}
    assert compare(wanted, found, 0.5).agrees
    assert not compare(wanted, found, np.nextafter(0.5, 0)).agrees


def test_the_reason_names_the_error_and_the_tolerance() -> None:
    verdict = compare(WANTED, shifted(0.25), ALLOWED)
    assert verdict.reason == "outputs differ by 0.25 of their range (allowed 0.001)"


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_the_worst_of_all_samples_counts(wrong: int) -> None:
    wanted = [[np.ones(2)], [np.ones(2)], [np.ones(2)]]
    found = {f"{i}.0": np.ones(2) * (1.1 if i == wrong else 1.0) for i in range(3)}
    assert not compare(wanted, found, ALLOWED).agrees
    assert compare(wanted, found, ALLOWED).error == pytest.approx(0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_does_not_agree(value: float) -> None:
    found = {"0.0": np.array([[value, -4.0, 0.0]]), "0.1": np.array([1.0])}
    verdict = compare(WANTED, found, ALLOWED)
    assert (verdict.agrees, verdict.error) == (False, np.inf)


@pytest.mark.parametrize(
    ("found", "shape"),
    [
        ({"0.1": np.ones(1)}, "output 0 has shape None"),
        ({"0.0": np.ones((3,)), "0.1": np.ones(1)}, r"output 0 has shape \(3,\)"),
        ({"0.0": WANTED[0][0], "0.1": np.ones((1, 1))}, r"output 1 has shape \(1, 1\)"),
    ],
)
def test_a_missing_output_or_another_shape_does_not_agree(found: Any, shape: str) -> None:
    verdict = compare(WANTED, found, ALLOWED)
    assert (verdict.agrees, verdict.error) == (False, np.inf)
    assert re.match(shape + ", ONNX Runtime gives", verdict.reason)


X = {"name": "x", "shape": [2, 3], "dtype": "float32"}
Y = {"name": "y", "shape": [1], "dtype": "int64"}


def stored(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(("rows", "samples"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_real_inputs_are_cut_to_whole_batches(rows: int, samples: int, tmp_path: Path) -> None:
    x = np.arange(rows * 3).reshape(rows, 3)
    found = real_samples(stored(tmp_path / "r.npz", x=x), [X])
    assert len(found) == samples
    for number, sample in enumerate(found):
        np.testing.assert_array_equal(sample["x"], x[2 * number : 2 * number + 2])
        assert sample["x"].dtype == np.float32


def test_the_input_with_the_fewest_samples_ends_them(tmp_path: Path) -> None:
    path = stored(tmp_path / "r.npz", x=np.zeros((8, 3)), y=np.array([5.0, 6.0, 7.0]), z=np.ones(1))
    found = real_samples(path, [X, Y])
    assert [sample["y"].tolist() for sample in found] == [[5], [6], [7]]
    assert found[0]["y"].dtype == np.int64
    assert set(found[0]) == {"x", "y"}


def test_at_most_eight_or_as_many_as_asked_for(tmp_path: Path) -> None:
    path = stored(tmp_path / "r.npz", x=np.zeros((40, 3)))
    assert len(real_samples(path, [X])) == 8
    assert len(real_samples(path, [X], most=1)) == 1


def test_inputs_of_another_shape_are_no_samples(tmp_path: Path) -> None:
    assert real_samples(stored(tmp_path / "r.npz", x=np.zeros((4, 5))), [X]) == []
    assert real_samples(None, [X]) == []


# The reference, with ONNX Runtime and a fake run of the library.


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    g = graphs.Graph(1, 3)
    g.add("Relu")
    spec = {"name": "x", "shape": [1, 3], "dtype": "float32"}
    real = [{"x": np.array([[1.0, -2.0, 3.0]], np.float32)}]
    return Reference("relax", g.save(tmp_path / "m.onnx"), [spec], real)


def answers(reference: Reference, factor: float = 1.0) -> dict[str, np.ndarray]:
    return {f"{i}.0": outputs[0] * factor for i, outputs in enumerate(reference.outputs)}


def test_real_samples_come_first_then_seeded_random_ones(reference: Reference) -> None:
    assert len(reference.samples) == len(reference.outputs) == 1 + RANDOM_SAMPLES
    np.testing.assert_array_equal(reference.outputs[0][0], [[1.0, 0.0, 3.0]])
    drawn = [sample["x"].tobytes() for sample in reference.samples[1:]]
    assert len(set(drawn)) == RANDOM_SAMPLES
    for sample, (output,) in zip(reference.samples, reference.outputs, strict=True):
        np.testing.assert_array_equal(output, np.maximum(sample["x"], 0))


def test_the_tolerance_is_that_of_the_coarsest_output(tmp_path: Path) -> None:
    g = graphs.Graph(1, 3)
    first = g.add("Relu")
    second = g.add("Cast", to=TensorProto.FLOAT16)
    g.save(tmp_path / "m.onnx", first, second)
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "m.onnx")
    spec = {"name": "x", "shape": [1, 3], "dtype": "float32"}
    assert Reference("relax", tmp_path / "m.onnx", [spec]).tolerance == 2e-2


def test_a_graph_that_quantises_may_differ_by_a_level(tmp_path: Path) -> None:
    g = graphs.Graph(1, 3)
    scale = g.weight(value=0.1)
    g.add("QuantizeLinear", scale)
    g.add("DequantizeLinear", scale)
    spec = {"name": "x", "shape": [1, 3], "dtype": "float32"}
    assert Reference("relax", g.save(tmp_path / "m.onnx"), [spec]).tolerance == 5e-2


def test_fp32_outputs_may_differ_by_a_thousandth(reference: Reference) -> None:
    assert reference.tolerance == 1e-3


@pytest.mark.parametrize(("factor", "agrees"), [(1.0005, True), (1.002, False), (1.5, False)])
def test_judging_a_library(
    factor: float, agrees: bool, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_run_here", lambda _: answers(reference, factor))
    verdict = reference.judge(Path("model.so"))
    assert verdict.agrees is agrees
    assert verdict.error == pytest.approx(factor - 1, rel=1e-3)


def test_a_library_that_crashes_is_wrong_and_says_how(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: Path) -> Any:
        raise WorkerDied("run: the worker ended with signal SIGSEGV")

    monkeypatch.setattr(reference, "_run_here", run)
    verdict = reference.judge(Path("model.so"))
    assert (verdict.agrees, verdict.error) == (False, np.inf)
    assert "SIGSEGV" in verdict.reason


@pytest.mark.parametrize("kind", [MissingError, InputError])
def test_a_board_that_is_missing_or_does_not_fit_is_no_verdict(
    kind: type[TvmkdError], reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: Path) -> Any:
        raise kind("no board")

    monkeypatch.setattr(reference, "_run_here", run)
    with pytest.raises(kind, match="no board"):
        reference.judge(Path("model.so"))


def test_on_a_board_the_library_runs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class FakeBoard:
        facts: dict[str, Any] = {"board": "nano", "cpu": "a57", "emulated": True, "glibc": "2.27"}  # noqa: RUF012

        def __init__(self, *given: Any) -> None:
            made.append(given)

        def __enter__(self) -> FakeBoard:
            return self

        def __exit__(self, *_: object) -> None: ...

        def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
            return [np.maximum(arrays[0], 0)]

    monkeypatch.setattr(check, "RemoteModel", FakeBoard)
    g = graphs.Graph(1, 3)
    g.add("Relu")
    spec = {"name": "x", "shape": [1, 3], "dtype": "float32"}
    board, target = {"host": "h", "port": 1, "key": "k"}, {"name": "nano"}
    reference = Reference("relax", g.save(tmp_path / "m.onnx"), [spec], board=board, target=target)
    assert reference.on == {}
    assert reference.judge(Path("model.so")).agrees
    assert made == [(Path("model.so"), target, board, "relax")]
    assert reference.on == {"board": "nano", "cpu": "a57", "emulated": True}


def test_here_the_library_runs_in_a_process_of_its_own(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    class FakeChild:
        def __init__(self, argv: list[str]) -> None:
            asked["argv"] = argv[1:]

        def __enter__(self) -> FakeChild:
            return self

        def __exit__(self, *_: object) -> None: ...

        def call(self, method: str, params: dict[str, Any], *, timeout: float) -> None:
            asked.update(method=method, timeout=timeout, **params)
            with np.load(params["inputs"]) as given:
                found = {name: np.maximum(given[name], 0) for name in given.files}
            np.savez(params["outputs"], **found)

    monkeypatch.setattr(wire, "Child", FakeChild)
    assert reference.judge(Path("model.so")).agrees
    assert asked["argv"] == ["-m", "tvmkd.stacks.check"]
    assert (asked["method"], asked["timeout"], asked["stack"]) == ("run", 120.0, "relax")
    assert (asked["library"], asked["samples"]) == ("model.so", 4)
    assert [spec["name"] for spec in asked["specs"]] == ["x"]


def test_the_child_runs_every_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    class FakeProgram:
        def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
            return [arrays[0] + arrays[1], arrays[0] * 2]

    def open_program(stack: str, library: Path, specs: Any) -> FakeProgram:
        opened.append((stack, library, [spec.name for spec in specs]))
        return FakeProgram()

    monkeypatch.setattr(check.programs, "open_program", open_program)
    arrays = {f"{i}.{j}": np.array([10.0 * i + j]) for i in range(2) for j in range(2)}
    inputs = stored(tmp_path / "in.npz", **arrays)
    specs = [{"name": name, "shape": [1], "dtype": "float64"} for name in "ab"]
    params = {
        "stack": "relax", "library": "model.so", "specs": specs, "samples": 2,
        "inputs": str(inputs), "outputs": str(tmp_path / "out.npz"),
    }  # fmt: skip
    assert check._run(params, lambda *_: None) == {}
    assert opened == [("relax", Path("model.so"), ["a", "b"])]
    with np.load(tmp_path / "out.npz") as found:
        assert {name: found[name].tolist() for name in found.files} == {
            "0.0": [1.0], "0.1": [0.0], "1.0": [21.0], "1.1": [20.0],
        }  # fmt: skip
