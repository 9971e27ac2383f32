from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
from pathlib import Path

import fake_python
import pytest
import relay_stack

from tvmkd.base import machine
from tvmkd.base.errors import InputError, MissingError, TvmkdError
from tvmkd.runtime import interpreters
from tvmkd.stacks.relay import install


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fake_python.where_it_installs(tmp_path, monkeypatch)


def files() -> set[str]:
    return {path.name for path in interpreters.home().iterdir()}


def test_it_is_made_recorded_and_found(python: Path) -> None:
    said: list[str] = []
    record = install.install(python, say=said.append)
    place = interpreters.home() / "relay"
    assert record["python"] == str(place / "bin" / "python")
    assert (record["tvm"], record["llvm"]) == ("0.16.dev0", 15)
    assert record["packages"]["hhb-tvm"] == "3.2.3"
    assert json.loads(interpreters.record_path("relay").read_text()) == record
    assert interpreters.find("relay").python == record["python"]
    assert files() == {"relay", "relay.json", ".relay.lock"}
    assert os.listdir(place / "bin") == ["python"], "pip's scripts name a folder that is gone"
    assert f"{install.MEGABYTES} MB" in said[0]
    log = (python.parent / "pip.log").read_text()
    assert "--no-deps hhb-tvm==3.2.3" in log
    assert "numpy==1.26.4" in log


def test_once_is_enough(python: Path) -> None:
    first = install.install(python, say=lambda _: None)
    (python.parent / "fail-pip").touch()
    said: list[str] = []
    assert install.install(say=said.append) == first
    assert len(said) == 1
    assert said[0].startswith("already there and working: TVM 0.16.dev0, LLVM 15, ")


def test_a_lost_record_is_written_again(python: Path) -> None:
    first = install.install(python, say=lambda _: None)
    interpreters.record_path("relay").write_text("{")
    again = install.install(say=lambda _: None)
    assert again["python"] == first["python"]
    assert json.loads(interpreters.record_path("relay").read_text()) == again


def test_other_versions_or_a_broken_one_are_made_anew(python: Path) -> None:
    install.install(python, say=lambda _: None)
    answer = python.parent / "answer.json"
    good = answer.read_text()
    answer.write_text(good.replace("1.26.4", "1.24.0"))
    said: list[str] = []
    install.install(python, say=said.append)
    assert said[-1].startswith("installed: ")
    assert files() == {"relay", "relay.json", ".relay.lock"}


@pytest.mark.parametrize(
    ("step", "error", "said"),
    [
        ("fail-venv", MissingError, "ensurepip is not available; apt install python3.10-venv"),
        ("fail-pip", MissingError, "pip cannot install the relay stack: ERROR: no such host; "),
        ("fail-smoke", TvmkdError, r"signal SIGABRT: free\(\): invalid pointer"),
    ],
)
def test_nothing_half_made_stays_and_a_good_one_does(
    python: Path, step: str, error: type[TvmkdError], said: str
) -> None:
    (python.parent / step).touch()
    with pytest.raises(error, match=said):
        install.install(python, say=lambda _: None)
    assert files() == {".relay.lock"}
    (python.parent / step).unlink()
    record = install.install(python, say=lambda _: None)
    # Out of date, so that it is made again; what is there goes on working.
    answer = python.parent / "answer.json"
    answer.write_text(answer.read_text().replace("1.26.4", "1.24.0"))
    (python.parent / step).touch()
    with pytest.raises(error):
        install.install(python, say=lambda _: None)
    assert files() == {"relay", "relay.json", ".relay.lock"}
    assert interpreters.find("relay").python == record["python"]


def test_ctrl_c_leaves_nothing(python: Path) -> None:
    def interrupt(text: str) -> None:
        if text.startswith("installing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install.install(python, say=interrupt)
    assert files() == {".relay.lock"}


def test_what_a_killed_install_left_is_removed(python: Path) -> None:
    (interpreters.home() / ".relay-x1" / "made").mkdir(parents=True)
    install.install(python, say=lambda _: None)
    assert files() == {"relay", "relay.json", ".relay.lock"}


def test_a_second_install_waits_for_the_first(python: Path) -> None:
    interpreters.home().mkdir(parents=True)
    waits = threading.Event()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        waits.set()

    with (interpreters.home() / ".relay.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=install.install, args=(python,), kwargs={"say": say})
        thread.start()
        assert waits.wait(30)
        assert files() == {".relay.lock"}
    thread.join(30)
    assert said[0].endswith("is installing the same stack; waiting for it")
    assert files() == {"relay", "relay.json", ".relay.lock"}


def test_a_folder_that_cannot_be_written_is_one_line(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(python))
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\); set XDG"):
        install.install(python, say=lambda _: None)


def test_a_python_of_another_version_is_bad_input(python: Path, tmp_path: Path) -> None:
    other = fake_python.script(tmp_path / "python3.9", "echo cpython 3 9")
    broken = fake_python.script(tmp_path / "shim", "echo not installed >&2; exit 127")
    for given in (other, broken, tmp_path / "none"):
        with pytest.raises(InputError, match=r"is no CPython 3\.10 that runs"):
            install.install(given, say=lambda _: None)
    assert files() == {".relay.lock"}


def test_where_a_python_is_looked_for(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_candidates", lambda *_: iter(()))
    with pytest.raises(MissingError, match=r"apt install python3\.10 python3\.10-venv, or pyenv"):
        install.find_python()
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{os.environ['PATH']}")
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    # A pyenv shim for a version that is not installed comes first and does not count.
    fake_python.script(tmp_path / "shims" / "python3.10", "echo not installed >&2; exit 127")
    place = tmp_path / ".pyenv" / "versions" / "3.10.13" / "bin" / "python3.10"
    place.parent.mkdir(parents=True)
    place.symlink_to(python)
    found = [path for path in install._candidates("python3.10", "3.10") if str(tmp_path) in path]
    assert found == [str(tmp_path / "shims" / "python3.10"), str(place)]
    monkeypatch.setattr(install, "_candidates", lambda *_: iter(found))
    assert install.find_python() == str(place)


@pytest.mark.parametrize(
    ("architecture", "libc", "said"),
    [
        ("aarch64", ("glibc", "2.36"), "x86-64 Linux only"),
        ("x86_64", ("glibc", "2.31"), r"needs glibc 2\.34, and this is glibc 2\.31"),
        ("x86_64", ("", ""), "this is another C library"),
    ],
)
def test_machines_that_cannot_run_it(
    python: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    libc: tuple[str, str],
    said: str,
) -> None:
    monkeypatch.setattr(machine, "architecture", lambda: architecture)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    with pytest.raises(MissingError, match=rf"{said}.*set TVMKD_RELAY_PYTHON to a Python with"):
        install.install(python, say=lambda _: None)
    assert not interpreters.home().exists()


@pytest.mark.slow
def test_the_real_one_compiles_and_trains() -> None:
    facts = install.smoke(relay_stack.relay_python())
    assert facts["llvm"] >= 10
    assert (0, 14) <= tuple(map(int, facts["tvm"].split(".")[:2])) <= (0, 19)
