"""What is sent to the other process, and what is left when it cannot load the library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tvmkd.base import wire
from tvmkd.base.manifest import TensorSpec
from tvmkd.runtime import interpreters, subprocess_program
from tvmkd.runtime.program import LoadError
from tvmkd.runtime.subprocess_program import SubprocessProgram

SPECS = [
    TensorSpec(name="x", shape=["batch", 4], dtype="float32"),
    TensorSpec(name="y", shape=[2], dtype="int64"),
]
X, Y = np.ones((1, 4), np.float32), np.full((2,), 7, np.int64)


class Child:
    """The other process: ``run`` gives the inputs back in reverse order."""

    made: Child
    answer: dict[str, Any]

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        Child.made = self
        self.argv, self.env = argv, env
        self.calls: list[tuple[str, dict[str, Any], float | None]] = []
        self.closed: list[float] = []

    def call(self, method: str, params: dict[str, Any], timeout: float | None = None) -> Any:
        self.calls.append((method, params, timeout))
        if method == "open":
            return Child.answer
        arrays = [np.load(path) for path in params["inputs"]]
        for index, array in enumerate(reversed(arrays)):
            np.save(f"{params['outputs']}{index}.npy", array)
        return {"outputs": len(arrays)}

    def close(self, grace: float) -> None:
        self.closed.append(grace)


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that stands for shared memory."""
    found = SimpleNamespace(python="/relay/python", environment=lambda: {"PYTHONPATH": "x"})
    asked: list[str] = []

    def find(stack: str) -> Any:
        asked.append(stack)
        return found

    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(subprocess_program, "SHARED", str(folder))
    monkeypatch.setattr(interpreters, "find", find)
    monkeypatch.setattr(wire, "Child", Child)
    Child.answer = {}
    yield folder
    assert set(asked) <= {"relay"}


def program() -> SubprocessProgram:
    return SubprocessProgram("relay", Path("out/model.so"), SPECS)


def test_the_library_is_opened_by_the_stacks_interpreter() -> None:
    program()
    assert Child.made.argv == ["/relay/python", "-m", "tvmkd.runtime.program_host"]
    assert Child.made.env == {"PYTHONPATH": "x"}
    assert Child.made.calls == [
        (
            "open",
            {
                "stack": "relay",
                "library": "out/model.so",
                "specs": [
                    {"name": "x", "shape": ["batch", 4], "dtype": "float32"},
                    {"name": "y", "shape": [2], "dtype": "int64"},
                ],
            },
            120.0,
        )
    ]


REAL = subprocess_program.SHARED


def test_shared_memory_is_where_linux_has_it() -> None:
    assert REAL == "/dev/shm"


def test_arrays_and_outputs_stay_in_order(shared: Path) -> None:
    made = program()
    assert not made.takes([X, Y])
    for fit in (True, False):
        first, second = made.run([X, Y], fit)
        np.testing.assert_array_equal(first, Y)
        np.testing.assert_array_equal(second, X)
        assert (first.dtype, second.dtype) == (Y.dtype, X.dtype)
    _, (method, params, timeout), _ = Child.made.calls
    assert (method, timeout) == ("run", None)
    assert len(set(params["inputs"])) == 2
    # The other process has another working folder.
    (folder,) = shared.iterdir()
    assert {Path(path).parent for path in (*params["inputs"], params["outputs"])} == {folder}


def test_an_output_survives_the_next_run() -> None:
    made = program()
    _, first = made.run([X, Y])
    made.run([X * 5, Y])
    np.testing.assert_array_equal(first, X)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_every_output_is_read(count: int) -> None:
    arrays = [np.full((1,), number) for number in range(count)]
    found = program().run(arrays)
    assert [int(array[0]) for array in found] == list(reversed(range(count)))


@pytest.mark.parametrize("writable", [True, False])
def test_files_are_in_shared_memory_where_it_can_be_written(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    asked: list[tuple[str, int]] = []

    def access(path: str, mode: int) -> bool:
        asked.append((path, mode))
        return writable

    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    monkeypatch.setattr(os, "access", access)
    made = program()
    assert asked == [(str(shared), os.W_OK)]
    assert len(list(shared.iterdir())) == writable
    assert len(list(disk.iterdir())) == (not writable)
    (folder,) = (*shared.iterdir(), *disk.iterdir())
    assert folder.name.startswith("tvmkd-run-")
    del made
    assert [*shared.iterdir(), *disk.iterdir()] == []


def test_the_process_ends_with_its_program(shared: Path) -> None:
    made = program()
    child = Child.made
    assert child.closed == []
    del made
    assert child.closed == [0.2]
    assert list(shared.iterdir()) == []


def test_a_library_that_cannot_be_loaded_leaves_no_process(shared: Path) -> None:
    Child.answer = {"error": "no such symbol", "tvm": "TVM 0.16"}
    with pytest.raises(LoadError, match=r"^no such symbol$") as caught:
        program()
    assert caught.value.tvm == "TVM 0.16"
    assert Child.made.closed == [0.2]
    assert list(shared.iterdir()) == []
