"""What is sent to the process that holds a board, and what that process does on the board."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tvmkd.base import prctl, stack_registry, wire
from tvmkd.base.errors import InputError, MissingError, WorkerTimeout
from tvmkd.boards import connect, remote
from tvmkd.boards.remote import RemoteModel
from tvmkd.runtime import interpreters, tvm_process

X, Y = np.ones((1, 4), np.float32), np.full((2,), 7, np.int64)
TRACKER = {"host": "boards", "port": 9190, "key": "nano"}


class Child:
    """The other process: ``run`` gives the inputs back in reverse order."""

    made: Child
    facts: dict[str, Any]
    fails: str | None
    failure: Exception = MissingError("it failed")

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        Child.made = self
        self.argv, self.env = argv, env
        self.calls: list[tuple[str, dict[str, Any] | None, float]] = []
        self.closed: list[float] = []

    def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        timeout: float,
        on_event: Any = None,
    ) -> Any:
        self.calls.append((method, params, timeout))
        if on_event is not None:
            on_event("named", {"board": "b:9090"})
        if method == self.fails:
            raise self.failure
        if method == "connect":
            return self.facts
        if method == "time":
            assert params is not None
            return {"seconds": [0.5] * params["count"]}
        if method == "run":
            assert params is not None
            with np.load(params["inputs"]) as saved:
                arrays = [saved[name] for name in saved.files]
            np.savez(params["outputs"], *reversed(arrays))
            return {"outputs": len(arrays)}
        return {"temperature_c": 40.0} if method == "telemetry" else {}

    def close(self, grace: float) -> None:
        self.closed.append(grace)


@pytest.fixture(autouse=True)
def matched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The comparisons of a board with a target."""
    calls: list[tuple[Any, ...]] = []
    found = SimpleNamespace(environment=lambda: {"PYTHONPATH": "x"})

    def find(stack: str) -> Any:
        return SimpleNamespace(python=f"/{stack}/python", environment=found.environment)

    monkeypatch.setattr(interpreters, "find", find)
    monkeypatch.setattr(wire, "Child", Child)
    monkeypatch.setattr(remote, "check_match", lambda *args: calls.append(args))
    monkeypatch.setattr(Child, "facts", {"board": "10.0.0.2:9090"}, raising=False)
    monkeypatch.setattr(Child, "fails", None, raising=False)
    return calls


def model(**options: Any) -> RemoteModel:
    return RemoteModel(Path("out/model.so"), {"device": "cuda"}, TRACKER, **options)


def test_the_library_is_loaded_on_the_targets_device(matched: list[tuple[Any, ...]]) -> None:
    with model(stack="relay", run_timeout=5.0):
        made = Child.made
        assert made.argv == ["/relay/python", "-m", "tvmkd.boards.remote"]
        assert made.env == {"PYTHONPATH": "x"}
        assert made.calls == [
            ("connect", {**TRACKER, "timeout": 60.0}, 120.0),
            ("load", {"library": "out/model.so", "device": "cuda", "stack": "relay"}, 5.0),
        ]
        assert matched == [({"device": "cuda"}, "10.0.0.2:9090", Child.facts)]
        assert made.closed == []
    assert made.closed == [0.5]


def test_a_target_without_device_is_a_cpu() -> None:
    RemoteModel(Path("m.so"), {}, TRACKER)
    _, params, timeout = Child.made.calls[1]
    assert params == {"library": "m.so", "device": "cpu", "stack": stack_registry.DEFAULT}
    assert timeout == 600.0


@pytest.mark.parametrize("step", ["connect", "load", "match"])
def test_a_board_that_cannot_be_used_is_freed(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def differs(*_: Any) -> None:
        raise InputError("another board")

    if step == "match":
        monkeypatch.setattr(remote, "check_match", differs)
    monkeypatch.setattr(Child, "fails", step)
    with pytest.raises((MissingError, InputError)):
        model()
    assert Child.made.closed == [0.5]
    assert ("load" in [method for method, *_ in Child.made.calls]) is (step == "load")


def test_a_silent_board_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Child, "fails", "connect")
    monkeypatch.setattr(Child, "failure", WorkerTimeout("connect: no answer in 120 s"))
    with pytest.raises(MissingError, match="the board at b:9090 fails: it accepted the session"):
        model()


@pytest.mark.parametrize(
    ("facts", "emulated"), [({}, False), ({"emulated": False}, False), ({"emulated": True}, True)]
)
def test_an_emulated_board_says_so(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], emulated: bool
) -> None:
    monkeypatch.setattr(Child, "facts", {"board": "b", **facts})
    assert model().emulated is emulated


def test_arrays_and_outputs_stay_in_order() -> None:
    made = model(run_timeout=5.0)
    first, second = made.run([X, Y])
    np.testing.assert_array_equal(first, Y)
    np.testing.assert_array_equal(second, X)
    assert Child.made.calls[-1][2] == 5.0
    many = made.run([np.full((1,), number) for number in range(12)])
    assert [int(array[0]) for array in many] == list(range(11, -1, -1))


def test_times_are_seconds_of_each_run() -> None:
    made = model(run_timeout=5.0)
    assert made.time([X, Y], 3) == [0.5] * 3
    method, params, timeout = Child.made.calls[-1]
    assert params is not None
    assert (method, params["count"], timeout) == ("time", 3, 5.0)
    with np.load(params["inputs"]) as saved:
        np.testing.assert_array_equal(saved["arr_1"], Y)
    assert made.telemetry() == {"temperature_c": 40.0}
    assert Child.made.calls[-1] == ("telemetry", None, 30)


class Session:
    """A session with a board.

    Attributes:
        functions: what its server has, by name.
    """

    def __init__(self, **functions: Callable[[], Any]) -> None:
        self.functions = {name.replace("__", "."): each for name, each in functions.items()}
        self.there = True
        self.log: list[tuple[Any, ...]] = []

    def get_function(self, name: str) -> Callable[[], Any]:
        return self.functions[name]

    def device(self, name: str, index: int) -> Any:
        return SimpleNamespace(name=name, index=index, exist=self.there)

    def upload(self, path: str, target: str) -> None:
        self.log.append(("upload", path, target))

    def load_module(self, name: str) -> str:
        self.log.append(("load", name))
        return f"module {name}"


class Program:
    """A model that gives its inputs back."""

    def __init__(self, *made: Any) -> None:
        self.made = made
        self.sent: list[list[Any]] = []

    def set_inputs(self, tensors: list[Any]) -> None:
        self.sent.append(tensors)

    def run(self) -> list[Any]:
        return [array for array, _ in self.sent[-1]]

    def time(self, count: int) -> list[float]:
        return [0.25] * count


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The child's side with a library loaded."""
    made = remote._Session()
    made._session = Session()
    made._tvm = "tvm"
    monkeypatch.setattr(stack_registry, "load", lambda place: Program)
    monkeypatch.setattr(
        remote, "new_tensor", lambda tvm, array, device: (array, (tvm, device.name))
    )
    made.load({"library": "out/model.so", "device": "cuda", "stack": "relax"}, lambda *_: None)
    return made


def run(session: Any, folder: Path, *arrays: Any) -> list[Any]:
    inputs, outputs = folder / "in.npz", folder / "out.npz"
    np.savez(inputs, *arrays)
    # As where two writes fall into one tick of the kernel's clock.
    os.utime(inputs, ns=(0, 0))
    count = session.run({"inputs": str(inputs), "outputs": str(outputs)}, None)["outputs"]
    with np.load(outputs) as saved:
        return [saved[f"arr_{index}"] for index in range(count)]


def test_the_library_is_sent_before_it_is_loaded(session: Any) -> None:
    assert session._session.log == [("upload", "out/model.so", "model.so"), ("load", "model.so")]
    module, device = session._program.made
    assert (module, device.name, device.index) == ("module model.so", "cuda", 0)


def test_a_board_without_the_device_gets_no_library() -> None:
    made = remote._Session()
    made._session = Session()
    made._session.there = False
    with pytest.raises(MissingError, match=r"no GPU there \(cuda\)"):
        made.load({"library": "m.so", "device": "cuda", "stack": "relax"}, lambda *_: None)
    assert made._session.log == []


def test_inputs_are_sent_again_only_when_they_have_changed(session: Any, tmp_path: Path) -> None:
    for arrays, sent in [
        ([X, Y], 1),
        ([X, Y], 1),
        ([X * 2, Y], 2),
        ([X * 2, Y + 1], 3),
        ([X, Y], 4),
        ([X.astype(np.float64), Y], 5),
        ([X.reshape(4), Y], 6),
        ([Y, X], 7),
    ]:
        outputs = run(session, tmp_path, *arrays)
        for output, array in zip(outputs, arrays, strict=True):
            np.testing.assert_array_equal(output, array, strict=True)
        assert len(session._program.sent) == sent
    found = session.time({"inputs": str(tmp_path / "in.npz"), "count": 2}, None)
    assert found == {"seconds": [0.25, 0.25]}
    assert len(session._program.sent) == 7
    assert session._program.sent[0][0][1] == ("tvm", "cuda")


def test_more_than_ten_inputs_stay_in_order(session: Any, tmp_path: Path) -> None:
    arrays = [np.full((1,), number) for number in range(12)]
    assert [int(array[0]) for array in run(session, tmp_path, *arrays)] == list(range(12))


def connected(patch: pytest.MonkeyPatch, found: Any) -> tuple[dict[str, Any], list[Any]]:
    """The facts of a board, and what was asked and told on the way."""
    log: list[Any] = []

    def request(*args: Any) -> tuple[str, int, str]:
        log.append(args)
        return "10.0.0.2", 9090, "match"

    def dial(*args: Any) -> Any:
        log.append(args)
        if isinstance(found, Exception):
            raise found
        return found

    tvm = SimpleNamespace(rpc=SimpleNamespace(connect=dial))
    patch.setattr(tvm_process, "import_runtime", lambda: tvm)
    patch.setattr(connect, "request", request)
    patch.setattr(connect, "refused", lambda error: f"why {error}")
    facts = remote._Session().connect(
        {**TRACKER, "timeout": 60.0}, lambda name, data: log.append((name, data))
    )
    return facts, log


def test_a_board_is_named_before_it_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Session(
        tvmkd__board__facts=lambda: json.dumps({"emulated": True, "threads": 1}),
        runtime__NumThreads=lambda: "4",
    )
    facts, log = connected(monkeypatch, board)
    assert facts == {"board": "10.0.0.2:9090", "emulated": True, "threads": 4}
    assert log == [
        ("boards", 9190, "nano", 60.0),
        ("named", {"board": "10.0.0.2:9090"}),
        ("10.0.0.2", 9090, "match"),
    ]


def test_a_server_of_upstreams_has_no_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connected(monkeypatch, Session())[0] == {"board": "10.0.0.2:9090"}


def test_a_board_that_does_not_answer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = r"^the board at 10\.0\.0\.2:9090 does not answer \(why gone\)$"
    with pytest.raises(MissingError, match=wanted):
        connected(monkeypatch, OSError("gone"))


def test_telemetry_is_empty_where_the_board_has_none() -> None:
    made = remote._Session()
    made._session = Session()
    assert made.telemetry({}, lambda *_: None) == {}
    made._session = Session(tvmkd__board__telemetry=lambda: '{"temperature_c": 40.0}')
    assert made.telemetry({}, lambda *_: None) == {"temperature_c": 40.0}


def test_the_process_ends_without_waiting_for_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[Any] = []
    monkeypatch.setattr(prctl, "die_with_parent", lambda: order.append("die with parent"))
    monkeypatch.setattr(wire, "serve", lambda handlers: order.append(sorted(handlers)))
    monkeypatch.setattr(os, "_exit", order.append)
    remote.main()
    assert order == [
        "die with parent",
        ["connect", "load", "run", "telemetry", "time"],
        0,
    ]
