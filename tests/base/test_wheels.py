"""Which files are copied or downloaded for a board, and what is left of a download that failed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base import wheels
from tvmkd.base.errors import MissingError, UsageError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache on an x86_64 machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    return tmp_path / "cache" / "tvmkd" / "boards"


def test_the_libraries_of_the_wheels_are_those_that_a_board_needs(cache: Path) -> None:
    assert wheels.cache() == cache
    for found in wheels._WHEELS.values():
        inside = [Path(member).name for wheel in found for member in wheel.members]
        assert sorted(inside) == sorted(wheels.NAMES)
        assert [wheel.requirement for wheel in found] == [
            f"apache-tvm=={wheels.TVM_VERSION}",
            f"apache-tvm-ffi=={wheels.FFI_VERSION}",
        ]
        assert all(re.fullmatch("[0-9a-f]{64}", wheel.sha256) for wheel in found)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages whose import would fail."""
    for package in ("made_tvm", "made_ffi"):
        (tmp_path / package / "lib").mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "made_module.py").write_text("")
    (tmp_path / "made_tvm" / "lib" / "a.so").write_text("a")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("inside", ["lib/a.so", "lib"])
def test_a_file_or_folder_of_a_package_is_found_without_importing_it(
    packages: Path, inside: str
) -> None:
    assert wheels.installed("made_tvm", inside) == packages / "made_tvm" / inside
    assert "made_tvm" not in sys.modules


@pytest.mark.parametrize(
    ("package", "inside"),
    [("made_tvm", "lib/b.so"), ("made_module", "__init__.py"), ("no_such_package_here", "a")],
)
def test_a_file_that_is_not_installed_is_named(packages: Path, package: str, inside: str) -> None:
    with pytest.raises(MissingError, match=f"^{package}/{inside} is not installed: pip install"):
        wheels.installed(package, inside)


def test_this_machines_libraries_are_copied_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def installed(package: str, inside: str) -> Path:
        asked.append((package, inside))
        path = tmp_path / Path(inside).name
        path.write_text(f"{package} {inside}")
        return path

    monkeypatch.setattr(wheels, "installed", installed)
    said: list[str] = []
    folder = wheels.libraries("x86_64", said.append)
    assert folder == cache / f"libraries-x86_64-{wheels.TVM_VERSION}"
    assert asked == [
        ("tvm_ffi", "lib/libtvm_ffi.so"),
        ("tvm", "lib/libtvm_runtime.so"),
        ("tvm", "lib/libtvm_runtime_extra.so"),
    ]
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        Path(inside).name: f"{package} {inside}" for package, inside in asked
    }
    assert len(said) == 1
    assert wheels.libraries("x86_64") == folder
    assert len(asked) == 3


def pip(*names: str, code: int = 0, stderr: str = "") -> Callable[..., Any]:
    """A pip that leaves these files; each holds the libraries of both wheels."""

    def run(command: list[str], **_: Any) -> Any:
        into = Path(command[command.index("--dest") + 1])
        for name in names:
            into.mkdir(exist_ok=True)
            with zipfile.ZipFile(into / name, "w") as archive:
                for wheel in wheels._WHEELS["aarch64"]:
                    for member in wheel.members:
                        archive.writestr(member, f"content of {member}")
        return subprocess.CompletedProcess(command, code, "", stderr)

    return run


def test_another_architectures_libraries_are_downloaded_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", pip("one.whl"))
    said: list[str] = []
    folder = wheels.libraries("aarch64", said.append)
    first, second = wheels._WHEELS["aarch64"]
    assert folder == cache / f"libraries-aarch64-{first.sha256[:12]}-{second.sha256[:12]}"
    assert said == [f"downloading {wheel.requirement} for aarch64" for wheel in (first, second)]
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        Path(member).name: f"content of {member}"
        for wheel in (first, second)
        for member in wheel.members
    }, "nothing else stays: no wheel, no list of requirements"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o755}
    monkeypatch.setattr(subprocess, "run", pip(code=1))
    assert wheels.libraries("aarch64") == folder


def test_an_architecture_without_wheels_is_wrong_usage(cache: Path) -> None:
    with pytest.raises(UsageError, match=r"for riscv64 boards, only for aarch64$"):
        wheels.libraries("riscv64")
    assert not cache.exists()


WHEEL = wheels._Wheel("made==1", "manylinux_2_28_aarch64", "ab" * 32, ("lib/a.so",))


def test_pip_verifies_the_hash_of_the_only_wheel_that_it_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[str], str, dict[str, Any]]] = []

    def run(command: list[str], **options: Any) -> Any:
        listed = Path(command[command.index("-r") + 1]).read_text()
        seen.append((command, listed, options))
        return pip("made-1.whl")(command)

    monkeypatch.setattr(subprocess, "run", run)
    assert wheels._download(WHEEL, tmp_path) == tmp_path / "wheel" / "made-1.whl"
    ((command, listed, options),) = seen
    assert listed == f"made==1 --hash=sha256:{'ab' * 32}\n"
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} < set(command)
    assert command[command.index("--platform") + 1] == "manylinux_2_28_aarch64"
    assert command[command.index("--python-version") + 1] == "3.11"
    assert command[command.index("--dest") + 1] == str(tmp_path / "wheel")
    assert options == {"capture_output": True, "text": True}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (pip(), "no wheel came"),
        (pip("a.whl", "b.whl"), "no wheel came"),
        (pip("a.whl", code=1), "no wheel came"),
        (pip(code=1, stderr="first\n  last \n\n"), "last"),
        (pip(code=1, stderr="ERROR: first\nERROR: second \nnotice\n"), "ERROR: second"),
        (pip(stderr="only a warning"), "only a warning"),
    ],
)
def test_a_failed_download_gives_pips_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, why: str
) -> None:
    monkeypatch.setattr(subprocess, "run", run)
    reason = re.escape(f"cannot download made==1 for {WHEEL.platform} ({why}); it is needed once")
    with pytest.raises(MissingError, match=f"^{reason}"):
        wheels._download(WHEEL, tmp_path)
    assert not (tmp_path / "requirements.txt").exists()
