from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.tuning import records
from tvmkd.tuning.session import check_made_for, open_session, read_info

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
