from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_python
import pytest

from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.runtime import interpreters
from tvmkd.runtime.interpreters import Interpreter, find


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TVMKD_RELAY_PYTHON", raising=False)


def python(tmp_path: Path, name: str) -> str:
    return str(fake_python.script(tmp_path / name / "python", "true"))


def record(text: str) -> Path:
    path = interpreters.record_path("relay")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_given_path_comes_before_the_variable_and_that_before_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, set_, given = (python(tmp_path, name) for name in ("recorded", "set", "given"))
    path = record(json.dumps({"python": recorded}))
    assert find("relay") == Interpreter("relay", recorded, str(path))
    monkeypatch.setenv("TVMKD_RELAY_PYTHON", set_)
    assert find("relay") == Interpreter("relay", set_, "TVMKD_RELAY_PYTHON")
    assert find("relay", Path(given)) == Interpreter("relay", given, "--stack-python")


def test_relax_ignores_a_given_interpreter(tmp_path: Path) -> None:
    found = find("relax", python(tmp_path, "given"))
    assert found == Interpreter("relax", sys.executable, "this environment")
    assert found.environment() == {}


def test_a_link_to_an_interpreter_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "venv-python"
    link.symlink_to(python(tmp_path, "base"))
    assert find("relay", link).python == str(link)


@pytest.mark.parametrize("name", ["no-such-python", "a-folder", "plain"])
def test_a_path_that_is_no_program_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "plain").write_text("no program")
    with pytest.raises(InputError, match=rf"{name}: .* \(from --stack-python\); give"):
        find("relay", tmp_path / name)
    monkeypatch.setenv("TVMKD_RELAY_PYTHON", str(tmp_path / name))
    with pytest.raises(InputError, match=r"from TVMKD_RELAY_PYTHON"):
        find("relay")


def test_without_an_interpreter_the_message_says_how_to_install_one(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"run tvmkd stack install relay, or set TVMKD_RELAY_"):
        find("relay")
    path = record(json.dumps({"python": str(tmp_path / "gone")}))
    with pytest.raises(MissingError, match=rf"gone, which {path} names, is gone; run tvmkd stack"):
        find("relay")


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3", '{"python": 3}'])
def test_a_damaged_record_is_one_line(text: str) -> None:
    record(text)
    with pytest.raises(MissingError, match=r"run tvmkd stack install relay"):
        find("relay")


def test_an_unknown_stack_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match=r'unknown stack "relai"; did you mean "rela'):
        find("relai")


def test_only_tvmkd_is_on_the_python_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/main/interpreter")
    found = Interpreter("relay", sys.executable, "a test")
    environment = found.environment()
    assert environment["PYTHONNOUSERSITE"] == "1"
    assert environment["TOPHUB_LOCATION"] == "NONE"
    folder = Path(environment["PYTHONPATH"])
    assert os.listdir(folder) == ["tvmkd"]
    code = (
        "from tvmkd import targets; from tvmkd.base import errors, resources;"
        "print(errors.__file__);"
        "print(resources.folder('targets'), resources.folder('schedules'), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    file, targets, schedules = done.stdout.splitlines()
    assert Path(file) == folder / "tvmkd" / "base" / "errors.py"
    assert Path(targets, "host.toml").exists() or any(Path(targets).glob("*.toml"))
    assert Path(schedules).is_dir()


def test_a_wrong_link_is_replaced() -> None:
    link = interpreters.package_path() / "tvmkd"
    assert link.resolve() == interpreters.PACKAGE
    link.unlink()
    link.symlink_to("/elsewhere")
    assert (interpreters.package_path() / "tvmkd").resolve() == interpreters.PACKAGE
    link.unlink()
    assert (interpreters.package_path() / "tvmkd").resolve() == interpreters.PACKAGE


def test_many_processes_may_make_the_link_at_once() -> None:
    with ThreadPoolExecutor(16) as pool:
        folders = set(pool.map(lambda _: interpreters.package_path(), range(64)))
    (folder,) = folders
    assert os.listdir(folder) == ["tvmkd"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        interpreters.package_path()
