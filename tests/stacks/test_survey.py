from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fake_python
import pytest
import relay_stack

from tvmkd.base import stack_registry
from tvmkd.base.errors import InputError, UsageError
from tvmkd.runtime.interpreters import Interpreter
from tvmkd.stacks import survey

STUBS = dict.fromkeys(stack_registry.get("relay").packages, "")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TVMKD_RELAY_PYTHON", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)


def relay(tmp_path: Path, tvm: str | None, submodule: str = "relay") -> dict[str, Any]:
    """The survey of an interpreter with such a ``tvm`` and all that the worker needs."""
    modules = {} if tvm is None else {"tvm.__init__": tvm, f"tvm.{submodule}": ""}
    return look(fake_python.with_modules(tmp_path, {**STUBS, **modules}))


def look(python: Path) -> dict[str, Any]:
    (row,) = survey.survey(["relay"], given=python)
    assert row["python"] == str(python)
    return row


def test_a_good_one(tmp_path: Path) -> None:
    row = relay(tmp_path, fake_python.tvm())
    assert row == {
        "name": "relay",
        "python": str(tmp_path / "bin" / "python"),
        "source": "--stack-python",
        "tvm": "0.16.dev0",
        "llvm": 15,
        "cuda": True,
        "tensorrt": True,
        "reason": None,
        "fix": None,
        "note": None,
    }


def test_what_it_was_built_with(tmp_path: Path) -> None:
    text = fake_python.tvm(functions=("target.llvm_version_major",))
    row = relay(tmp_path, text)
    assert (row["reason"], row["cuda"], row["tensorrt"]) == (None, False, False)
    row = relay(tmp_path, fake_python.tvm(functions=()))
    assert row["reason"] == "its TVM was built without LLVM"


def test_no_tvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = relay(tmp_path, None)
    assert (row["reason"], row["fix"]) == ("has no TVM", "tvmkd stack install relay")
    assert row["tvm"] is None
    (tmp_path / "modules" / "tvm").mkdir()  # a folder of that name is no TVM
    assert relay(tmp_path, None)["reason"] == "has no TVM"
    monkeypatch.setenv("PYTHONPATH", "/home/me/tvm/python")
    assert "PYTHONPATH is not passed on" in relay(tmp_path, None)["reason"]


def test_a_tvm_with_relax_only(tmp_path: Path) -> None:
    row = relay(tmp_path, fake_python.tvm("0.21.0"), "relax")
    assert row["reason"] == "its TVM 0.21.0 has no Relay: 0.20 and newer have Relax only"
    assert row["tvm"] == "0.21.0"


@pytest.mark.parametrize(
    ("version", "noted"), [("0.13.0", True), ("0.14.0", False), ("0.19.0", False), ("1.0", True)]
)
def test_a_version_that_was_not_tried_is_noted(tmp_path: Path, version: str, noted: bool) -> None:
    row = relay(tmp_path, fake_python.tvm(version))
    assert row["reason"] is None
    assert (row["note"] is not None) is noted
    if noted:
        assert row["note"] == (
            f"TVM {version} has not been tried: the relay stack is written for 0.14 to 0.19"
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "raise OSError('libtvm.so: cannot open shared object file')",
            "OSError: libtvm.so: cannot",
        ),
        (
            "raise RuntimeError('Cannot find the files.\\nList:\\n/a')",
            "Error: Cannot find the files",
        ),
        ("from os import nothing_like_it", "ImportError: cannot import name 'nothing_like_it'"),
    ],
)
def test_a_library_that_cannot_be_loaded(tmp_path: Path, text: str, said: str) -> None:
    row = relay(tmp_path, text)
    assert row["reason"].startswith("its TVM cannot be imported: ")
    assert said in row["reason"]


def test_a_library_that_takes_the_process_down(tmp_path: Path) -> None:
    text = (
        "import os, signal, sys\nprint('symbol lookup error', file=sys.stderr, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSEGV)"
    )
    row = relay(tmp_path, text)
    assert row["reason"] == "its process ended with signal SIGSEGV: symbol lookup error"


def test_nothing_is_read_or_left_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    row = relay(tmp_path, "import os\nos.mkdir('.pkl_memoize_py3')\n" + fake_python.tvm())
    assert row["reason"] is None
    assert not list((tmp_path / "cwd").iterdir())


def test_a_process_that_hangs(tmp_path: Path) -> None:
    python = fake_python.script(tmp_path / "python", "exec sleep 60")
    answer = survey.ask(Interpreter("relay", str(python), "a test"), timeout=0.2)
    assert answer["problem"] == "gave no answer in 0 s"


def test_missing_packages_come_with_the_command(tmp_path: Path) -> None:
    modules = {**STUBS, "tvm.__init__": fake_python.tvm(), "tvm.relay": ""}
    del modules["psutil"], modules["xgboost"]
    python = fake_python.with_modules(tmp_path, modules)
    row = look(python)
    assert row["reason"] == "has no psutil, xgboost"
    assert row["fix"] == f"{python} -m pip install psutil xgboost"


def test_a_package_that_tvm_itself_misses(tmp_path: Path) -> None:
    row = relay(tmp_path, "import attr.nothing")
    assert row["reason"] == "has no attrs"
    assert row["fix"].endswith("-m pip install attrs")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo I am no Python", "its process printed no answer"),
        ("echo oh dear >&2; exit 3", "ended with exit code 3: oh dear"),
    ],
)
def test_what_is_no_python(tmp_path: Path, text: str, said: str) -> None:
    assert said in look(fake_python.script(tmp_path / "python", text))["reason"]


def test_an_old_python(tmp_path: Path) -> None:
    answer = '{"python_version": [3, 8], "absent": []}'
    row = look(fake_python.script(tmp_path / "python", f"echo '{answer}'"))
    assert row["reason"] == "is Python 3.8; the worker needs 3.10 or newer"


def test_no_interpreter_is_a_row_and_a_wrong_one_given_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = survey.survey(["relay"])
    assert (row["python"], row["reason"]) == (None, "the relay stack is not installed")
    assert row["fix"].startswith("tvmkd stack install relay, or set TVMKD_RELAY_PYTHON")
    monkeypatch.setenv("TVMKD_RELAY_PYTHON", "/no/such")
    (row,) = survey.survey(["relay"])
    assert row["reason"] == "/no/such: is not a program that can be run (from TVMKD_RELAY_PYTHON)"
    with pytest.raises(InputError):
        survey.survey(["relay"], given="/no/such")
    with pytest.raises(UsageError):
        survey.survey(["rilay"])


def test_relax_in_this_environment() -> None:
    (row,) = survey.survey(["relax"])
    assert (row["python"], row["source"]) == (sys.executable, "this environment")
    assert (row["reason"], row["fix"]) == (None, None)
    assert row["llvm"] >= 15
    assert row["tvm"].startswith("0.27")


@pytest.mark.slow
def test_a_real_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVMKD_RELAY_PYTHON", relay_stack.relay_python())
    (row,) = survey.survey(["relay"])
    assert (row["reason"], row["note"]) == (None, None)
