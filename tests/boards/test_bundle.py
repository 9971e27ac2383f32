from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tvmkd import targets
from tvmkd.base import wheels
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.boards import bundle, symbols

NANO = targets.load("jetson-nano")


@pytest.fixture(scope="module")
def runtime() -> Path:
    try:
        return bundle.runtime(NANO)
    except MissingError as error:
        pytest.skip(str(error))


def test_what_a_nano_gets_asks_for_nothing_newer_than_it_has(runtime: Path) -> None:
    found = symbols.check([runtime / name for name in bundle.FILES], "2.27")
    assert found["libtvm_runtime.so"]["GLIBC"] == "2.27"
    assert set(found["tvmkd-board"]) == {"GLIBC"}, "C, so that it mixes with any libstdc++"
    with pytest.raises(InputError, match=r"libtvm_runtime.so: needs GLIBC\w*_\S+ and .*glibc 2.17"):
        symbols.check([runtime / "libtvm_runtime.so"], "2.17")


def test_a_file_that_is_no_library_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.so"
    path.write_bytes(b"MZ")
    with pytest.raises(InputError, match="not an ELF library"):
        symbols.needed(path)
    with pytest.raises(InputError, match=r"older than glibc 2\.17"):
        symbols.limits("2.5")


def test_the_archive_checks_itself_and_is_the_same_twice(runtime: Path, tmp_path: Path) -> None:
    made = bundle.bundle(NANO, tmp_path / "nano.tar.gz")
    again = bundle.bundle(NANO, tmp_path / "again.tar.gz")
    assert made["sha256"] == again["sha256"]
    assert hashlib.sha256((tmp_path / "nano.tar.gz").read_bytes()).hexdigest() == made["sha256"]
    with tarfile.open(tmp_path / "nano.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "tvmkd-board"
    assert not list(folder.glob("*.py"))
    check = ["sha256sum", "-c", "--quiet", bundle.SUMS]
    assert subprocess.run(check, cwd=folder, timeout=60).returncode == 0
    usage = subprocess.run([folder / "start.sh"], capture_output=True, text=True, timeout=60)
    assert (usage.returncode, "usage: ./start.sh" in usage.stderr) == (2, True)
    (folder / "libtvm_ffi.so").write_bytes(b"cut")
    damaged = subprocess.run(
        [folder / "start.sh", "h:1", "k"], capture_output=True, text=True, timeout=60
    )
    assert (damaged.returncode, "copy and unpack" in damaged.stderr) == (4, True)
    assert sorted(path.name for path in tmp_path.glob("*.tar.gz*")) == [
        "again.tar.gz",
        "nano.tar.gz",
    ]


def test_the_second_time_needs_no_network_and_no_compiler(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
    said: list[str] = []
    bundle.bundle(NANO, tmp_path / "nano.tar.gz", tell=said.append)
    assert said == [f"writing {tmp_path / 'nano.tar.gz'}"]


def test_a_wheel_that_cannot_be_had_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    failed = subprocess.CompletedProcess([], 1, "", "x\nERROR: THESE PACKAGES DO NOT MATCH\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(MissingError, match=r"cannot download apache-tvm==.*DO NOT MATCH"):
        wheels.libraries("aarch64")
    assert list((tmp_path / "tvmkd" / "boards").iterdir()) == []
    with pytest.raises(UsageError, match=r"has no TVM .* for riscv64 boards"):
        wheels.libraries("riscv64")


def test_only_what_is_named_comes_out_of_a_wheel(tmp_path: Path) -> None:
    (tmp_path / "wheel").mkdir()
    wheel = tmp_path / "wheel" / "a.whl"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("lib/a.so", "a")
        archive.writestr("../evil.so", "b")
    wheel.write_bytes(content.getvalue())
    wheels._extract(wheel, ("lib/a.so",), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.so"]
