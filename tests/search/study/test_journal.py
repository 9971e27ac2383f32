from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest

from tvmkd.base.errors import InputError
from tvmkd.search.study import journal


def written(path: Path) -> Path:
    """A journal of one trial."""
    study = optuna.create_study(storage=journal.open_journal(path), study_name="s")
    study.tell(study.ask(), 1.0)
    return path


def numbers(path: Path) -> list[int]:
    storage = journal.open_journal(path)
    return [t.number for t in optuna.load_study(study_name="s", storage=storage).trials]


def test_a_line_that_a_killed_process_left_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "a" / "study.journal")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"work')
    assert numbers(path) == [0]
    assert path.read_bytes() == whole
    assert "half-written" in capsys.readouterr().err
    study = optuna.load_study(study_name="s", storage=journal.open_journal(path))
    study.tell(study.ask(), 2.0)
    assert numbers(path) == [0, 1]


def test_a_torn_line_longer_than_a_block_is_dropped(tmp_path: Path) -> None:
    path = written(tmp_path / "study.journal")
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 10_000)
    assert numbers(path) == [0]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("garbage", [b"garbage", b'{"op_code":4', b"[1]", b'{"op":1}', b"\xff\xfe"])
@pytest.mark.parametrize("last", [False, True])
def test_a_damaged_line_is_named(tmp_path: Path, garbage: bytes, last: bool) -> None:
    path = written(tmp_path / "study.journal")
    lines = path.read_bytes().splitlines(keepends=True)
    lines.insert(len(lines) if last else 1, garbage + b"\n")
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=rf"line {len(lines) if last else 2} is damaged; delete"):
        journal.open_journal(path)
    assert path.read_bytes() == b"".join(lines)


def test_lines_that_say_what_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_text('{"op_code":99,"worker_id":"x"}\n')
    with pytest.raises(InputError, match="is no journal of a study"):
        journal.open_journal(path)


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        journal.open_journal(tmp_path / "file" / "study.journal")


def test_a_lock_of_a_dead_process_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "study.journal")
    os.symlink(path, f"{path}.lock")
    monkeypatch.setattr(journal, "STALE_SECONDS", 3)
    monkeypatch.setattr(optuna.storages.journal._file._logger, "propagate", True)
    monkeypatch.chdir(tmp_path.parent)
    relative = Path(tmp_path.name, path.name)
    study = optuna.load_study(study_name="s", storage=journal.open_journal(relative))
    study.ask()
    assert numbers(path) == [0, 1]
    assert not os.path.lexists(f"{path}.lock")
    lock = study._storage._backend._lock._lock_target_file
    assert os.path.isabs(lock), "the link that is the lock has to lead somewhere"
