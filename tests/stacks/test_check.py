"""The numeric check: its samples, its verdict on each output, and a library that crashes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tvmkd.base import wire
from tvmkd.base.errors import InputError, MissingError, TvmkdError, WorkerDied
from tvmkd.base.exits import Rule
from tvmkd.export.door import admit
from tvmkd.export.reference import MAKERS
from tvmkd.runtime.standalone_program import NO_DEADLINE, StandaloneProgram
from tvmkd.stacks import check
from tvmkd.stacks.check import Reference


def stored(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


# The reference, with ONNX Runtime and a fake run of the library.


SPEC = {"name": "x", "shape": [1, 3], "dtype": "float32"}


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    g = graphs.Graph(1, 3)
    g.add("Relu")
    real = [{"x": np.array([[1.0, -2.0, 3.0]], np.float32)}]
    return Reference("relax", g.save(tmp_path / "m.onnx"), [SPEC], real)


def answers(reference: Reference, factor: float = 1.0) -> dict[str, np.ndarray]:
    """What a library gives whose positive numbers are off by ``factor``."""
    return {
        f"{i}.{j}": (runs[0] * factor).astype(runs[0].dtype)
        for j, output in enumerate(reference.outputs)
        for i, runs in enumerate(output.runs)
    }


def test_real_samples_take_the_place_of_drawn_ones(reference: Reference) -> None:
    (sample,) = reference.samples
    np.testing.assert_array_equal(sample["x"], [[1.0, -2.0, 3.0]])
    np.testing.assert_array_equal(reference.outputs[0].runs[0][0], [[1.0, 0.0, 3.0]])


def test_without_real_samples_they_are_drawn_and_repeat_with_the_seed(tmp_path: Path) -> None:
    g = graphs.Graph(1, 3)
    g.add("Sigmoid")
    path = g.save(tmp_path / "m.onnx")
    first, again, other = (
        [sample["x"].tobytes() for sample in Reference("relax", path, [SPEC], seed=seed).samples]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) == len(first) == 4


def test_inputs_that_onnx_runtime_refuses_have_to_be_given(tmp_path: Path) -> None:
    g = graphs.Graph(1, 3)
    g.add("Relu")
    real = [{"x": np.zeros((2, 5), np.float32)}]
    with pytest.raises(InputError, match=r"m\.onnx: .*none of the inputs .*--inputs FILE\.npz"):
        Reference("relax", g.save(tmp_path / "m.onnx"), [SPEC], real)


def test_each_output_has_the_bound_of_its_own_precision(tmp_path: Path) -> None:
    g = graphs.Graph(1, 3)
    first = g.add("Relu")
    second = g.add("Cast", to=TensorProto.FLOAT16)
    scale = g.weight(value=0.1)
    g.add("QuantizeLinear", scale, data=first)
    third = g.add("DequantizeLinear", scale)
    g.save(tmp_path / "m.onnx", first, second, third)
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "m.onnx")
    reference = Reference("relax", tmp_path / "m.onnx", [SPEC])
    assert [output.bound for output in reference.outputs] == [1e-3, 2e-2, 5e-2]
    assert reference.tolerance == 5e-2


@pytest.mark.parametrize(("factor", "agrees"), [(1.00005, True), (1.002, False), (1.5, False)])
def test_judging_a_library(
    factor: float, agrees: bool, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_run_here", lambda _: answers(reference, factor))
    verdict = reference.judge(Path("model.so"))
    assert verdict.agrees is agrees
    assert verdict.error == pytest.approx(factor - 1, rel=1e-2)


def test_a_plain_build_opens_the_file_once_and_each_other_form_once_where_it_decides(
    tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = graphs.separable(tmp_path / "m.onnx")
    info = admit(path, None, tmp_path)
    reference = Reference("relax", info.path, [vars(tensor) for tensor in info.inputs])
    assert len(reference.samples) == 4
    monkeypatch.setattr(reference, "_run_here", lambda _: answers(reference, 1.00001))
    assert reference.judge(Path("model.so")).agrees
    assert counted == ["m.onnx"]
    monkeypatch.setattr(reference, "_run_here", lambda _: answers(reference, 1.5))
    for _ in range(2):
        assert not reference.judge(Path("model.so")).agrees
    # As it stands, with noise in several ways, and in float64, which ONNX Runtime refuses: it has
    # convolutions.
    assert counted == ["m.onnx", *["bytes"] * len(MAKERS)]


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
    board, target = {"host": "h", "port": 1, "key": "k"}, {"name": "nano"}
    reference = Reference("relax", g.save(tmp_path / "m.onnx"), [SPEC], board=board, target=target)
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
    assert asked["argv"] == ["-m", "tvmkd.stacks.check", "relax"]
    assert (asked["method"], asked["timeout"], asked["stack"]) == ("run", 120.0, "relax")
    assert (asked["library"], asked["samples"]) == ("model.so", 1)
    assert [spec["name"] for spec in asked["specs"]] == ["x"]
    reference._runs.seconds = 10.0
    reference.judge(Path("model.so"))
    assert asked["timeout"] == 600.0


def test_a_process_that_was_started_early_is_used_once_and_only_while_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[SimpleNamespace] = []

    def child(argv: list[str]) -> SimpleNamespace:
        made.append(SimpleNamespace(stack=argv[-1], reusable=True))
        return made[-1]

    monkeypatch.setattr(wire, "Child", child)
    monkeypatch.setattr(check, "_early", {})
    check.prestart("relax")
    check.prestart("relax")
    assert len(made) == 1
    assert check._started("relay") is made[1]
    assert check._started("relax") is made[0]
    assert check._started("relax") is made[2]
    check.prestart("relax")
    made[3].reusable = False
    assert check._started("relax") is made[4]
    assert [each.stack for each in made] == ["relax", "relay", "relax", "relax", "relax"]


def test_the_child_runs_every_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    class FakeProgram:
        def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
            return [arrays[0] + arrays[1], arrays[0] * 2]

    def open_program(stack: str, library: Path, specs: Any, runtime: str) -> FakeProgram:
        opened.append((stack, library, [spec.name for spec in specs], runtime))
        return FakeProgram()

    monkeypatch.setattr(check.programs, "open_program", open_program)
    arrays = {f"{i}.{j}": np.array([10.0 * i + j]) for i in range(2) for j in range(2)}
    inputs = stored(tmp_path / "in.npz", **arrays)
    specs = [{"name": name, "shape": [1], "dtype": "float64"} for name in "ab"]
    params = {
        "stack": "relax", "runtime": "tvm", "library": "model.so", "specs": specs, "samples": 2,
        "inputs": str(inputs), "outputs": str(tmp_path / "out.npz"),
    }  # fmt: skip
    assert check._run(params, lambda *_: None) == {}
    assert opened == [("relax", Path("model.so"), ["a", "b"], "tvm")]
    with np.load(tmp_path / "out.npz") as found:
        assert {name: found[name].tolist() for name in found.files} == {
            "0.0": [1.0], "0.1": [0.0], "1.0": [21.0], "1.1": [20.0],
        }  # fmt: skip


# A library with early exits.


class Exits(StandaloneProgram):
    """Two exits, whose thresholds and decisions are given."""

    def __init__(self, threshold: float, taken: int, plain: int) -> None:
        self.exits, self.rule = 2, Rule((threshold,))
        self._taken, self._plain = taken, plain

    def run_exit(self, arrays: Any, index: int) -> list[Any]:
        return [np.array([[4.0, index]], np.float32)]

    def run_until(self, arrays: Any, deadline_ns: int) -> tuple[list[Any], int]:
        assert deadline_ns == NO_DEADLINE
        return self.run_exit(arrays, self._taken), self._taken

    def run(self, arrays: Any, fit: bool = False) -> list[Any]:
        return self.run_exit(arrays, self._plain)


@pytest.mark.parametrize(("threshold", "left"), [(0.9, 0), (0.999, 1)])
def test_the_logits_of_every_exit_are_compared(threshold: float, left: int) -> None:
    found = check._outputs(Exits(threshold, left, left), [])
    assert [row.tolist() for row in found] == [[[4.0, 0.0]], [[4.0, 1.0]]]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (Exits(0.9, 1, 0), "it left at exit 1, and its thresholds say exit 0"),
        (Exits(0.999, 0, 1), "it left at exit 0, and its thresholds say exit 1"),
        (Exits(0.9, 0, 1), "run and run_until differ at exit 0"),
    ],
)
def test_a_library_that_leaves_elsewhere_is_wrong(program: Exits, said: str) -> None:
    with pytest.raises(TvmkdError, match=said):
        check._outputs(program, [])
