"""The answers of the process that runs a library for another interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd.base import wire
from tvmkd.base.errors import TvmkdError
from tvmkd.base.manifest import TensorSpec
from tvmkd.runtime import program_host, programs
from tvmkd.runtime.program import LoadError


class Program:
    """A library that doubles its inputs."""

    error: Exception | None = None

    def __init__(self) -> None:
        self.fit: list[bool] = []

    def takes(self, arrays: Sequence[Any]) -> bool:
        return len(arrays) == 2

    def run(self, arrays: Sequence[Any], fit: bool = False) -> list[Any]:
        self.fit.append(fit)
        if self.error is not None:
            raise self.error
        return [2 * array for array in arrays]


def event(*_: Any) -> None:
    raise AssertionError("no event is sent")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def open_program(*args: Any) -> Program:
        calls.append(args)
        return Program()

    monkeypatch.setattr(programs, "open_program", open_program)
    return calls


def host() -> Any:
    found = program_host._Host()
    specs = [{"name": "x", "shape": ["batch", 4], "dtype": "float32"}]
    params = {"stack": "relay", "library": "out/model.so", "specs": specs}
    assert found.open(params, event) == {}
    return found


def test_the_library_is_opened_as_asked(opened: list[tuple[Any, ...]]) -> None:
    host()
    wanted = [TensorSpec(name="x", shape=["batch", 4], dtype="float32")]
    assert opened == [("relay", Path("out/model.so"), wanted)]


def test_a_library_that_cannot_be_loaded_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise LoadError("no such symbol", "TVM 0.16")

    monkeypatch.setattr(programs, "open_program", fails)
    params = {"stack": "relay", "library": "m.so", "specs": []}
    answer = program_host._Host().open(params, event)
    assert answer == {"error": "no such symbol", "tvm": "TVM 0.16"}


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_output_is_written_beside_the_stem(tmp_path: Path, count: int) -> None:
    paths = [str(tmp_path / f"in{number}.npy") for number in range(count)]
    for number, path in enumerate(paths):
        np.save(path, np.full((2,), number, np.float32))
    made = host()
    answer = made.run({"inputs": paths, "outputs": str(tmp_path / "out")}, event)
    assert answer == {"outputs": count}
    written = sorted(path.name for path in tmp_path.glob("out*"))
    assert written == [f"out{number}.npy" for number in range(count)]
    for number in range(count):
        assert np.load(tmp_path / f"out{number}.npy").tolist() == [2 * number] * 2
    assert made._program.fit == [count == 2]


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("trace\n  more \nthe reason \n\n"), "the reason "),
        (RuntimeError("one line"), "one line"),
        (RuntimeError(""), "it failed"),
        (RuntimeError(" \n "), "it failed"),
        (ValueError("another class"), "another class"),
    ],
)
def test_the_last_line_of_an_error_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(Program, "error", error)
    with pytest.raises(TvmkdError) as caught:
        host().run({"inputs": [], "outputs": "out"}, event)
    assert str(caught.value) == reason.strip()


@pytest.mark.usefixtures("opened")
def test_a_lost_input_is_an_answer_too(tmp_path: Path) -> None:
    with pytest.raises(TvmkdError, match="No such file"):
        host().run({"inputs": [str(tmp_path / "gone.npy")], "outputs": "out"}, event)


def test_the_process_serves_both_requests_and_dies_with_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[Any] = []
    monkeypatch.setattr(program_host, "die_with_parent", lambda: order.append("die with parent"))
    monkeypatch.setattr(wire, "serve", order.append)
    program_host.main()
    first, handlers = order
    assert first == "die with parent"
    assert sorted(handlers) == ["open", "run"]
    assert handlers["open"].__func__ is program_host._Host.open
    assert handlers["run"].__func__ is program_host._Host.run
    assert handlers["open"].__self__ is handlers["run"].__self__
