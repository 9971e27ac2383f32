from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.base.locks import Lock

HOLD = """
import sys
from pathlib import Path
from tvmkd.base.locks import Lock
with Lock(Path(sys.argv[1]), "holding it", "give up"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_that_is_taken_names_its_owner(path: Path, holder: subprocess.Popen[str]) -> None:
    for _ in range(2):  # a refusal does not change the file
        with pytest.raises(InputError) as caught:
            Lock(path, "tuning into this folder", "give another folder")
        assert str(caught.value) == (
            f"{path.parent}: another process (pid {holder.pid}) is tuning into this folder; "
            "wait for it or give another folder"
        )


def test_a_killed_owner_leaves_no_lock(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with Lock(path, "", ""):
        assert path.read_text() == f"{os.getpid()}\n"


def test_waiting_says_so_once_and_ends_with_the_lock(
    path: Path, holder: subprocess.Popen[str]
) -> None:
    said: list[str] = []
    waits = threading.Event()

    def tell(text: str) -> None:
        said.append(text)
        waits.set()

    def wait() -> None:
        with Lock(path, "installing", "stop it", wait=tell):
            said.append(path.read_text())

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(30)
    pid = f"another process (pid {holder.pid}) is installing"
    assert said == [f"{path.parent}: {pid}; waiting for it"]
    holder.communicate()
    thread.join(30)
    assert said[1:] == [f"{os.getpid()}\n"]


def test_a_free_lock_is_taken_without_a_word(path: Path) -> None:
    path.write_text("a very long text of an owner that is gone\n")
    said: list[str] = []
    with Lock(path, "", "", wait=said.append):
        assert path.read_text() == f"{os.getpid()}\n"
    assert said == []


def test_a_lock_is_exclusive_within_a_process_and_free_after_the_block(path: Path) -> None:
    with Lock(path, "", ""), pytest.raises(InputError, match=f"pid {os.getpid()}"):
        Lock(path, "", "")
    with Lock(path, "", ""):
        pass


def test_a_second_close_closes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(path, "", "")
    lock.close()
    closed: list[int] = []
    monkeypatch.setattr(os, "close", closed.append)
    lock.close()
    assert closed == []


def test_a_refusal_leaves_no_descriptor_open(path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    with Lock(path, "", ""):
        before = count()
        with pytest.raises(InputError):
            Lock(path, "", "")
        assert count() == before


def test_the_file_s_mode_follows_the_umask(path: Path) -> None:
    umask = os.umask(0o026)
    try:
        Lock(path, "", "").close()
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o640


def test_other_text_in_the_file_is_no_error(path: Path) -> None:
    with Lock(path, "", ""):
        path.write_bytes(b"\xff" * 1000)
        with pytest.raises(InputError, match=r"pid [^a-z]+\) is"):
            Lock(path, "", "")


def test_an_owner_without_a_pid_is_unknown(path: Path) -> None:
    with Lock(path, "", ""):
        path.write_text("")
        with pytest.raises(InputError, match="pid unknown"):
            Lock(path, "", "")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "none" / ".lock", "", "")
