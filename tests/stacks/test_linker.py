from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tvmkd import targets
from tvmkd.base.errors import TvmkdError
from tvmkd.stacks import linker
from tvmkd.stacks.linker import Linker


def linker_that(monkeypatch: pytest.MonkeyPatch, code: str) -> Linker:
    monkeypatch.setattr(linker, "linker_for", lambda _: [sys.executable, "-c", code])
    return Linker({"triple": "aarch64-linux-gnu"})


def test_it_tells_tvm_the_triple_and_the_format() -> None:
    toolchain = targets.load("jetson-nano").to_dict()["toolchain"]
    found = Linker(toolchain)
    assert found.get_target_triple() == toolchain["triple"]
    assert found.output_format == "so"


def test_it_passes_the_output_and_the_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import sys; open({str(tmp_path / 'argv')!r}, 'w').write(' '.join(sys.argv[1:]))"
    linker_that(monkeypatch, code)("model.so", ["a.o", "b.o"], options=None)
    assert (tmp_path / "argv").read_text() == "-o model.so a.o b.o"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["/usr/bin/ld", "-shared"], "--defsym=new=old"),
        (["/z/zig", "ld.lld", "-shared"], "--defsym=new=old"),
        (["/usr/bin/gcc", "-shared"], "-Wl,--defsym=new=old"),
    ],
)
def test_symbols_get_more_names(
    command: list[str], option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(linker, "linker_for", lambda _: command)
    monkeypatch.setattr(subprocess, "run", run)
    Linker({"triple": "x86_64-linux-gnu"})("model.so", ["a.o"], aliases={"new": "old"})
    assert asked == [[*command, "-o", "model.so", "a.o", option]]


@pytest.mark.parametrize(
    ("said", "message"), [("first\\nsecond: no symbol", "second: no symbol"), ("", "no message")]
)
def test_a_failure_is_one_line(said: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = linker_that(monkeypatch, f"import sys; print('{said}', file=sys.stderr); sys.exit(1)")
    with pytest.raises(TvmkdError, match=rf"linking failed \(.*\): {message}$"):
        failing("model.so", [])


def test_a_real_library_is_linked(tmp_path: Path) -> None:
    toolchain = targets.load("host").to_dict()["toolchain"]
    real = Linker(toolchain)
    source, made = tmp_path / "a.c", tmp_path / "a.o"
    source.write_text("int answer(void) { return 42; }")
    zig = [sys.executable, "-m", "ziglang", "cc", "-fPIC", "-c", "-o", made, source]
    subprocess.run(zig, check=True)
    real(str(tmp_path / "a.so"), [str(made)])
    import ctypes

    assert ctypes.CDLL(str(tmp_path / "a.so")).answer() == 42
