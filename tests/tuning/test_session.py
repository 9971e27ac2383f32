from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.base.version import __version__
from tvmkd.tuning import records
from tvmkd.tuning import session as module
from tvmkd.tuning.session import Session, check_made_for, open_session, read_info
from tvmkd.tuning.space import Candidate, Task

TARGET = {"name": "tiny", "tvm": {"kind": "llvm", "mcpu": "x86-64-v3"}}
TASK = "0x00000000000000ab"


def trial(folder: Path, key: str, figure: float | None) -> None:
    status = "ok" if figure else "run_error"
    line = {"task": TASK, "key": key, "status": status, "figure": figure}
    records.append_line(folder / records.TRIALS, line)


def test_the_sidecar_says_what_the_folder_is_for(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "records"
    with open_session(folder, TARGET, "relax", stack_version="0.27", onnx_sha256="aa", seed=5):
        pass
    with open_session(folder, TARGET, "relax", stack_version="0.28", onnx_sha256="bb") as session:
        assert any("0.27" in note for note in session.notes)
    info = read_info(folder)
    assert info is not None
    assert info["target"] == TARGET
    assert info["models"] == ["aa", "bb"]
    assert info["seed"] == 5


def test_history_known_keys_and_best_leave_out_what_was_set_aside(tmp_path: Path) -> None:
    with open_session(tmp_path, TARGET, "relax"):
        pass
    trial(tmp_path, "good", 2e-6)
    trial(tmp_path, "bad", None)
    trial(tmp_path, "wrong", 1e-6)
    records.set_aside(tmp_path, TASK, "wrong", "output differs")
    records.set_aside(tmp_path, TASK, "elsewhere", "output differs")
    with open_session(tmp_path, TARGET, "relax") as session:
        assert session.known_keys("0xAB") == {"good", "bad", "wrong", "elsewhere"}
        assert session.history(TASK) == [("good", 2e-6), ("bad", None), ("wrong", 1e-6)]
        assert session.best(TASK) == 2e-6
        assert session.trials(TASK) == 3
        assert session.best("0x1") is None


def test_two_processes_cannot_tune_into_one_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from tvmkd.tuning.session import open_session; "
        f"s = open_session({str(tmp_path)!r}, {TARGET!r}, 'relax'); "
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(InputError, match=f"pid {other.pid}"):
            open_session(tmp_path, TARGET, "relax")
        other.kill()
    with open_session(tmp_path, TARGET, "relax"):
        pass  # a lock does not outlive its process


def test_another_target_or_stack_is_refused(tmp_path: Path) -> None:
    with open_session(tmp_path, TARGET, "relax"):
        pass
    other = {"name": "nano", "tvm": {"kind": "llvm", "mcpu": "cortex-a57"}}
    with pytest.raises(InputError, match="mcpu: 'x86-64-v3' there"):
        open_session(tmp_path, other, "relax")
    with pytest.raises(InputError, match="made by the stack 'relax'"):
        check_made_for(tmp_path, TARGET, "relay")
    with open_session(tmp_path, TARGET, "relax"):
        pass  # a refusal leaves no lock behind


def test_a_build_takes_records_of_another_core_count(tmp_path: Path) -> None:
    with open_session(tmp_path, TARGET, "relax"):
        pass
    more = {**TARGET, "tvm": {**TARGET["tvm"], "num-cores": 64}}
    check_made_for(tmp_path, more, "relax", same_cores=False)
    with pytest.raises(InputError, match="num-cores"):
        check_made_for(tmp_path, more, "relax")


def test_a_build_takes_records_of_a_cpu_with_fewer_instructions(tmp_path: Path) -> None:
    with open_session(tmp_path, TARGET, "relax"):
        pass
    spec = {**TARGET["tvm"], "mcpu": "x86-64-v4", "mattr": ["+avx512vnni"]}
    check_made_for(tmp_path, {**TARGET, "tvm": spec}, "relax", same_cores=False)
    with pytest.raises(InputError, match="mattr: None there, mcpu: 'x86-64-v3' there"):
        check_made_for(tmp_path, {**TARGET, "tvm": spec}, "relax")
    with open_session(tmp_path / "wide", {**TARGET, "tvm": spec}, "relax"):
        pass
    with pytest.raises(InputError, match="mcpu: 'x86-64-v4' there"):
        check_made_for(tmp_path / "wide", TARGET, "relax", same_cores=False)


def test_a_damaged_or_newer_sidecar_is_named(tmp_path: Path) -> None:
    (tmp_path / records.SIDECAR).write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        open_session(tmp_path, TARGET, "relax")
    (tmp_path / records.SIDECAR).write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(InputError, match="schema 99"):
        open_session(tmp_path, TARGET, "relax")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="records: cannot be written: Not a directory"):
        open_session(tmp_path / "file" / "records", TARGET, "relax")


def test_torn_lines_are_repaired_at_opening(tmp_path: Path) -> None:
    with open_session(tmp_path, TARGET, "relax"):
        pass
    trial(tmp_path, "good", 2e-6)
    path = tmp_path / records.TRIALS
    with path.open("ab") as file:
        file.write(b'{"task": "0x')
    with open_session(tmp_path, TARGET, "relax") as session:
        assert session.known_keys(TASK) == {"good"}
        assert any("torn" in note for note in session.notes)
    assert len(path.read_text().splitlines()) == 1
    assert os.listdir(tmp_path).count(".lock") == 1


# One trial after the other, with a recorder that keeps what it is given.

OTHER = "0x00000000000000cd"


class FakeRecorder:
    """Stands for the stack's writer of native records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.added: list[tuple[str, str, float]] = []
        self.lines = 0  # of the trials' file, when the last record was added

    def add(self, task: Task, candidate: Candidate, figure: float) -> None:
        self.added.append((task.key, candidate.key, figure))
        self.lines = len(records.read_lines(self.folder / records.TRIALS))


def task(key: str = TASK, weight: int = 1) -> Task:
    return Task("t", key, None, None, weight, 8.0, "dense")  # type: ignore[arg-type]


def candidate(key: str) -> Candidate:
    return Candidate(key, None)  # type: ignore[arg-type]


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[FakeRecorder]:
    made: list[FakeRecorder] = []

    def recorder(folder: Path) -> FakeRecorder:
        made.append(FakeRecorder(folder))
        return made[-1]

    backend = SimpleNamespace(recorder=recorder)
    monkeypatch.setattr(module.tuner_backend, "of", lambda stack: backend)
    return made


def add(session: Session, key: str, figure: float | None, **values: Any) -> None:
    given = {
        "seconds": None if figure is None else [figure],
        "error_kind": None if figure else "run_error",
        "error": None,
        "board": "b:1",
        "wall": 1.0,
        **values,
    }
    session.add(given.pop("task", task()), candidate(key), figure=figure, **given)


def test_a_trial_is_one_line_with_all_of_it(
    tmp_path: Path, recorders: list[FakeRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 1234.5)
    with open_session(tmp_path, TARGET, "relax") as session:
        add(session, "a", 2e-6, seconds=[3e-6, 2e-6], wall=1.23456, facts={"spread": 0.1})
        add(session, "b", None, error="x" * 600 + "end", error_kind="run_crash", board=None)
    first, second = records.read_lines(tmp_path / records.TRIALS)
    assert first == {
        "task": TASK,
        "key": "a",
        "status": "ok",
        "figure": 2e-6,
        "seconds": [3e-6, 2e-6],
        "error": None,
        "t": 1234.5,
        "trial": 1,
        "board": "b:1",
        "wall": 1.2346,
        "spread": 0.1,
    }
    assert (second["status"], second["trial"], second["board"]) == ("run_crash", 2, None)
    assert (second["figure"], second["seconds"]) == (None, None)
    assert second["error"] == "x" * 497 + "end"


def test_the_native_record_comes_before_the_trials_line(
    tmp_path: Path, recorders: list[FakeRecorder]
) -> None:
    with open_session(tmp_path, TARGET, "relax") as session:
        add(session, "a", 2e-6, seconds=[9e-6, 2e-6])
        add(session, "b", None)
        add(session, "c", 3e-6)
    (recorder,) = recorders
    assert recorder.added == [(TASK, "a", 2e-6), (TASK, "c", 3e-6)], "failed ones have none"
    assert recorder.lines == 2
    assert recorder.folder == tmp_path


def test_what_is_added_counts_at_once_and_at_the_next_opening(
    tmp_path: Path, recorders: list[FakeRecorder]
) -> None:
    def check(session: Session) -> None:
        assert session.history("0xAB") == [("a", 4e-6), ("b", None), ("c", 3e-6)]
        assert session.history(OTHER) == [("a", 1e-6)]
        assert session.known_keys(TASK) == {"a", "b", "c"}
        assert (session.trials("0xAB"), session.trials(OTHER), session.trials("0x1")) == (3, 1, 0)
        assert session.best("0xAB") == 3e-6
        assert session.best(OTHER) == 1e-6

    with open_session(tmp_path, TARGET, "relax") as session:
        assert session.emulated is None
        for key, figure in (("a", 4e-6), ("b", None), ("c", 3e-6)):
            add(session, key, figure)
        add(session, "a", 1e-6, task=task("0xcd"))
        check(session)
    with open_session(tmp_path, TARGET, "relax") as session:
        check(session)
        add(session, "d", 1e-6)
    assert [line["trial"] for line in records.read_lines(tmp_path / records.TRIALS)] == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_a_trial_that_the_folder_does_not_take_does_not_count(
    tmp_path: Path, recorders: list[FakeRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: Any) -> None:
        raise InputError("no space")

    with open_session(tmp_path, TARGET, "relax") as session:
        monkeypatch.setattr(module.records, "append_line", full)
        with pytest.raises(InputError, match="no space"):
            add(session, "a", 2e-6)
        assert session.trials(TASK) == 0
        assert session.history(TASK) == []


def test_what_is_set_aside_in_another_task_stays(
    tmp_path: Path, recorders: list[FakeRecorder]
) -> None:
    records.set_aside(tmp_path, OTHER, "a", "wrong")
    with open_session(tmp_path, TARGET, "relax") as session:
        add(session, "a", 2e-6)
        assert session.best(TASK) == 2e-6
        assert session.known_keys(TASK) == {"a"}
        assert session.known_keys(OTHER) == {"a"}


def stored(task: str, key: str, seconds: float) -> records.StoredRecord:
    return records.StoredRecord(Path(), task, key, seconds, [], [])


def test_records_of_elsewhere_are_known_but_are_no_trials(
    tmp_path: Path, recorders: list[FakeRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [
        stored(TASK, "a", 2e-6),
        stored(TASK, "b", 1e-6),
        stored(TASK, "wrong", 1e-9),
        stored(OTHER, "b", 5e-6),
    ]
    monkeypatch.setattr(module.records, "load", lambda folder: there)
    trial(tmp_path, "a", 3e-6)
    records.set_aside(tmp_path, TASK, "wrong", "output differs")
    with open_session(tmp_path, TARGET, "relax") as session:
        assert session.history(TASK) == [("a", 3e-6), ("b", 1e-6), ("wrong", 1e-9)]
        assert session.history(OTHER) == [("b", 5e-6)]
        assert session.trials(TASK) == 1
        assert session.best(TASK) == 1e-6
        assert session.stored("0xAB") == there[:2]
        assert session.stored(OTHER) == there[3:]


# The sidecar.


def test_a_new_folder_says_what_made_it(tmp_path: Path) -> None:
    with open_session(
        tmp_path, TARGET, "relax", stack_version="0.27", onnx_sha256="aa", seed=5
    ) as session:
        assert session.notes == []
        info = session.info
    assert info == read_info(tmp_path)
    created = datetime.fromisoformat(info.pop("created"))
    assert created.utcoffset() == timedelta(0)
    assert info == {
        "schema_version": 1,
        "target": TARGET,
        "stack": "relax",
        "stack_version": "0.27",
        "tvmkd_version": __version__,
        "models": ["aa"],
        "seed": 5,
        "statistic": "lower quartile of the repeats",
        "evaluator": "time",
        "boards": [],
        "tasks": [],
    }


@pytest.mark.parametrize(
    ("made_by", "now", "notes"),
    [
        ("0.27", "0.28", ["these records are of relax 0.27"]),
        ("0.27", "0.27", []),
        ("0.27", "", []),
    ],
)
def test_another_version_of_the_stack_is_noted(
    tmp_path: Path, made_by: str, now: str, notes: list[str]
) -> None:
    with open_session(tmp_path, TARGET, "relax", stack_version=made_by):
        pass
    with open_session(tmp_path, TARGET, "relax", stack_version=now) as session:
        assert session.notes == notes
        assert session.info["stack_version"] == made_by


def test_a_model_is_listed_once_and_no_model_is_none(tmp_path: Path) -> None:
    for sha in ("aa", None, "bb", "aa"):
        with open_session(tmp_path, TARGET, "relax", onnx_sha256=sha) as session:
            models = session.info["models"]
    assert models == ["aa", "bb"]


@pytest.mark.parametrize(
    ("made", "asked", "message"),
    [
        ("time", "icount", "holds times, and instruction counts cannot be compared"),
        ("icount", "time", "holds instruction counts, and times cannot be compared"),
        ("score", "time", "holds scores, and times cannot be compared"),
    ],
)
def test_times_and_instruction_counts_never_meet(
    tmp_path: Path, made: str, asked: str, message: str
) -> None:
    with open_session(tmp_path, TARGET, "relax", evaluator=made):
        pass
    with open_session(tmp_path, TARGET, "relax", evaluator=made):
        pass
    with pytest.raises(InputError, match=message):
        open_session(tmp_path, TARGET, "relax", evaluator=asked)


def test_an_older_folder_without_an_evaluator_holds_times(tmp_path: Path) -> None:
    with open_session(tmp_path, TARGET, "relax"):
        pass
    path = tmp_path / records.SIDECAR
    info = json.loads(path.read_text())
    del info["evaluator"]
    path.write_text(json.dumps(info))
    with open_session(tmp_path, TARGET, "relax"):
        pass
    with pytest.raises(InputError, match="holds times, and instruction counts"):
        open_session(tmp_path, TARGET, "relax", evaluator="icount")


def test_describing_merges_tasks_and_replaces_boards_and_seed(tmp_path: Path) -> None:
    with open_session(tmp_path, TARGET, "relax", seed=1) as session:
        session.describe([task(), task(OTHER)], [{"board": "b:1"}], 2)
        session.describe([task("0xAB", weight=7)], [{"board": "b:2"}], 3)
        assert read_info(tmp_path) == session.info
        session.add_board({"board": "b:3", "threads": 1})
        session.add_board({"board": "b:2", "threads": 4})
    info = read_info(tmp_path)
    assert info is not None
    assert [(each["key"], each["weight"]) for each in info["tasks"]] == [("0xAB", 7), (OTHER, 1)]
    assert info["boards"] == [{"board": "b:3", "threads": 1}, {"board": "b:2", "threads": 4}]
    assert info["seed"] == 3
    assert info["measured_on"] == "real"


@pytest.mark.parametrize(
    ("boards", "kind"),
    [
        ([{"board": "b"}], "real"),
        ([{"board": "b", "emulated": False}], "real"),
        ([{"board": "b", "emulated": True}], "emulated"),
        ([{"board": "b"}, {"board": "c", "emulated": True}], "emulated"),
        ([], None),
    ],
)
def test_records_are_of_emulated_boards_once_there_is_one(
    tmp_path: Path, recorders: list[FakeRecorder], boards: list[dict[str, Any]], kind: str | None
) -> None:
    with open_session(tmp_path, TARGET, "relax") as session:
        session.describe([], boards, 0)
        assert session.info.get("measured_on") == kind
        assert session.emulated is None, "no trial yet"
        add(session, "a", None)
        assert session.emulated == (None if kind is None else kind == "emulated")


def test_a_run_without_boards_keeps_what_the_records_are_of(tmp_path: Path) -> None:
    with open_session(tmp_path, TARGET, "relax") as session:
        session.describe([], [{"board": "b", "emulated": True}], 0)
        session.describe([], [], 0)
        assert session.info["measured_on"] == "emulated"


@pytest.mark.parametrize(
    ("made", "asked", "differs"),
    [
        ({"kind": "llvm"}, {"kind": "llvm"}, None),
        ({"kind": "llvm"}, {"kind": "cuda"}, r"\(kind: 'llvm' there\)"),
        ({"a": 1, "b": 2}, {"a": 2, "b": 3}, r"\(a: 1 there, b: 2 there\)"),
        ({"a": 1, "b": 2}, {"a": 1}, r"\(b: 2 there\)"),
        ({"a": 1}, {"a": 1, "b": 2}, r"\(b: None there\)"),
        ({}, {}, None),
        (None, {}, None),
        ({"num-cores": 4}, {"num-cores": 8}, r"\(num-cores: 4 there\)"),
    ],
)
def test_a_folder_serves_one_target(
    tmp_path: Path, made: dict[str, Any] | None, asked: dict[str, Any], differs: str | None
) -> None:
    with open_session(tmp_path, {"name": "old", "tvm": made}, "relax"):
        pass
    new = {"name": "new", "tvm": asked}
    if differs is None:
        check_made_for(tmp_path, new, "relax")
    else:
        with pytest.raises(InputError, match=f"for the target 'old', not 'new' {differs}"):
            check_made_for(tmp_path, new, "relax")


@pytest.mark.parametrize(
    ("made", "asked", "good"),
    [
        ({"num-cores": 4, "mcpu": "a"}, {"num-cores": 8, "mcpu": "a"}, True),
        ({"mcpu": "a"}, {"num-cores": 8, "mcpu": "a"}, True),
        ({"num-cores": 4, "mcpu": "a"}, {"mcpu": "a"}, True),
        ({"num-cores": 4, "mcpu": "a"}, {"num-cores": 4, "mcpu": "b"}, False),
    ],
)
def test_a_build_forgives_the_number_of_cores_only(
    tmp_path: Path, made: dict[str, Any], asked: dict[str, Any], good: bool
) -> None:
    with open_session(tmp_path, {"name": "old", "tvm": made}, "relax"):
        pass
    new = {"name": "new", "tvm": asked}
    if good:
        check_made_for(tmp_path, new, "relax", same_cores=False)
    else:
        with pytest.raises(InputError, match="mcpu: 'a' there"):
            check_made_for(tmp_path, new, "relax", same_cores=False)


def test_a_folder_without_a_sidecar_suits_everybody(tmp_path: Path) -> None:
    assert read_info(tmp_path) is None
    check_made_for(tmp_path, TARGET, "relay")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is damaged"),
        ("{}", "is damaged"),
        ('{"schema_version": 0}', "has schema 0; this tvmkd reads schema 1"),
        ('{"schema_version": 2}', "has schema 2; this tvmkd reads schema 1"),
    ],
)
def test_what_is_no_sidecar_of_ours_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / records.SIDECAR).write_text(text)
    with pytest.raises(InputError, match=message):
        read_info(tmp_path)


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    session = open_session(tmp_path, TARGET, "relax")
    session.close()
    with open_session(tmp_path, TARGET, "relax") as second:
        session.close()
        with pytest.raises(InputError, match="tuning into this folder"):
            open_session(tmp_path, TARGET, "relax")
        assert second.folder == tmp_path


def test_two_tuners_of_two_targets_that_make_one_folder_do_not_mix(tmp_path: Path) -> None:
    """The folder was not there when the caller checked; it is under the lock."""
    other = {"name": "other", "tvm": {"kind": "llvm", "mcpu": "x86-64-v4"}}
    check_made_for(tmp_path / "new", other, "relax")
    open_session(tmp_path / "new", TARGET, "relax").close()
    with pytest.raises(InputError, match="holds records for the target"):
        open_session(tmp_path / "new", other, "relax")
