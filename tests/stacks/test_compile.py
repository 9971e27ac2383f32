"""What is checked before a worker starts, and what the worker is asked for, with a fake client."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toys

from tvmkd import artifact, targets
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.boards import connect, fleet
from tvmkd.export.check import ModelInfo
from tvmkd.stacks import client
from tvmkd.stacks import compile as compiling
from tvmkd.tuning import session

HOST, NANO = targets.load("host"), targets.load("jetson-nano")
BOARD = {"host": "boards", "port": 9190, "key": "nano"}
Log = list[tuple[str, Any]]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """What happens, in order: checks, boards, and calls of the client, which does nothing."""
    found: Log = []

    def noting(module: Any, name: str, what: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            found.append((what, arguments[0]))
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    noting(importlib.import_module("tvmkd.export.door"), "admit", "check model")
    noting(session, "check_made_for", "check records")
    noting(artifact, "check_destination", "check destination")

    class Client:
        interpreter = SimpleNamespace(python="/python")

        def __init__(self, stack: str, python: Path | None = None) -> None:
            found.append(("worker", (stack, python)))

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            found.append(("closed", None))

        def start(self) -> None:
            found.append(("start", None))

        def tune(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            found.append(("tune", (arguments, options)))
            return {"trials": 1}

        def build(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            found.append(("build", (arguments, options)))
            return {"name": "m"}

        def profile(self, *arguments: Any) -> list[dict[str, Any]]:
            found.append(("profile", arguments))
            return [{"kernel": "k"}]

    @contextlib.contextmanager
    def local_fleet(count: int, key: str, **options: Any) -> Iterator[dict[str, Any]]:
        found.append(("fleet", (count, key)))
        yield {"host": "127.0.0.1", "port": 1, "key": key}

    monkeypatch.setattr(client, "StackClient", Client)
    monkeypatch.setattr(fleet, "local_fleet", local_fleet)
    monkeypatch.setattr(connect, "check", lambda *address: found.append(("board", address)))
    monkeypatch.setattr(compiling, "shipped_records", lambda target, stack: None)
    return found


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return toys.onnx_file(tmp_path / "m.onnx")


def names(log: Log) -> list[str]:
    return [name for name, _ in log]


def test_a_build_makes_every_check_once_while_the_worker_starts(
    log: Log, onnx: Path, tmp_path: Path
) -> None:
    mine = toys.records_of(tmp_path / "mine", HOST.name)
    (mine / "database_tuning_record.json").write_text("[]\n")
    log.clear()
    out = tmp_path / "out"
    assert compiling.build(onnx, HOST, [mine], out, dims={}) == {"name": "m"}
    assert names(log) == [
        *("check destination", "check records"),
        *("worker", "start", "check model", "build", "closed"),
    ]
    (model, target, folders, place), options = dict(log)["build"]
    assert isinstance(model, ModelInfo)
    assert model.path == onnx
    assert (target, folders, place) == (HOST.to_dict(), [mine], out)
    assert options["board"] is None


def test_records_that_ship_are_checked_and_used_after_the_given_ones(
    log: Log, onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ships = toys.records_of(tmp_path / "ships", HOST.name)
    monkeypatch.setattr(compiling, "shipped_records", lambda target, stack: ships)
    compiling.build(onnx, HOST, [], tmp_path / "out")
    assert dict(log)["check records"] == ships
    assert dict(log)["build"][0][2] == [ships]
    log.clear()
    compiling.build(onnx, HOST, [], tmp_path / "out", shipped=False)
    assert dict(log)["build"][0][2] == []


def test_tuning_makes_every_check_once_and_before_anything_starts(
    log: Log, onnx: Path, tmp_path: Path
) -> None:
    found = compiling.tune(onnx, HOST, tmp_path / "r", trials=3, tracker=None, key="local", seed=5)
    assert found == {"trials": 1}
    assert names(log) == ["check model", "check records", "worker", "fleet", "tune", "closed"]
    assert dict(log)["fleet"] == (1, "local")
    (model, target, folder), options = dict(log)["tune"]
    assert (model.path, target, folder) == (onnx, HOST.to_dict(), tmp_path / "r")
    assert options["tracker"] == {"host": "127.0.0.1", "port": 1, "key": "local"}
    assert (options["trials"], options["seed"], options["options"]["boards"]) == (3, 5, None)


def test_a_tracker_of_the_user_s_is_asked_for_boards(log: Log, onnx: Path, tmp_path: Path) -> None:
    compiling.tune(onnx, NANO, tmp_path / "r", trials=3, tracker=("boards", 9190), key="nano")
    assert dict(log)["board"] == ("boards", 9190, "nano")
    assert dict(log)["tune"][1]["tracker"] == BOARD
    assert "fleet" not in names(log)
    log.clear()
    compiling.build(onnx, NANO, [], tmp_path / "out", board=BOARD)
    assert dict(log)["board"] == ("boards", 9190, "nano")
    assert dict(log)["build"][1]["board"] == BOARD


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"onnx": Path("gone.onnx")}, InputError, "there is no such file"),
        ({"records": ["empty"]}, InputError, "holds no tuning records; make them with tvmkd tune"),
        ({"records": ["other"]}, InputError, "holds records for the target 'raspberry-pi-4'"),
        ({"out": "thesis"}, InputError, "is not an artifact"),
    ],
)
def test_a_build_of_bad_input_starts_nothing(
    log: Log, onnx: Path, tmp_path: Path, change: dict[str, Any], error: Any, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    other = toys.records_of(tmp_path / "other", "raspberry-pi-4")
    (other / "database_tuning_record.json").write_text("[]\n")
    records = [tmp_path / name for name in change.get("records", [])]
    with pytest.raises(error, match=message):
        compiling.build(
            change.get("onnx", onnx), HOST, records, tmp_path / change.get("out", "out")
        )
    assert "start" not in names(log)


def test_tuning_with_bad_input_starts_nothing(log: Log, onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --rpc-tracker and --rpc-key of its boards"):
        compiling.tune(onnx, NANO, tmp_path / "r", trials=1, tracker=None, key="local")
    other = toys.records_of(tmp_path / "other", "raspberry-pi-4")
    with pytest.raises(InputError, match="holds records for the target 'raspberry-pi-4'"):
        compiling.tune(onnx, HOST, other, trials=1, tracker=None, key="local")
    assert "worker" not in names(log)


def test_a_board_that_is_not_there_is_missed_before_the_build(
    log: Log, onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*address: Any) -> None:
        raise MissingError("no board")

    monkeypatch.setattr(connect, "check", check)
    with pytest.raises(MissingError, match="no board"):
        compiling.build(onnx, NANO, [], tmp_path / "out", board=BOARD)
    assert "worker" not in names(log)


def test_kernels_are_timed_by_the_stack_that_made_the_artifact(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "read", lambda folder: SimpleNamespace(stack="relay"))
    assert compiling.kernel_times(tmp_path, tmp_path / "i.npz") == [{"kernel": "k"}]
    assert log[0] == ("worker", ("relay", None))
    assert log[1] == ("profile", (tmp_path, tmp_path / "i.npz", 10, None))


def test_records_ship_for_a_target_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling.resources, "folder", lambda name: tmp_path / name)
    assert compiling.shipped_records(HOST, "relay") is None
    folder = tmp_path / "schedules" / "relay" / HOST.name
    folder.mkdir(parents=True)
    assert compiling.shipped_records(HOST, "relay") is None
    (folder / "autoscheduler.json").write_text("{}\n")
    assert compiling.shipped_records(HOST, "relay") == folder
    assert compiling.shipped_records(HOST, "relax") is None
