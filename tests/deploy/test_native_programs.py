"""Building and caching the programs in C."""

from __future__ import annotations

from pathlib import Path

import pytest
import sample_library
from elftools.elf.elffile import ELFFile

from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.boards import symbols
from tvmkd.deploy import native_programs


def test_every_source_belongs_to_a_program() -> None:
    used = {f"{name}.c" for names in native_programs.SOURCES.values() for name in names}
    boards = {path.name for path in native_programs.BOARDS.glob("board_*.c")}
    assert used == boards | {path.name for path in native_programs.NATIVE.glob("*.c")}


def test_a_program_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native_programs.resources, "cache", lambda name: tmp_path / name)
    said: list[str] = []
    host = targets.load("host")
    first = native_programs.run_program(host, tell=said.append)
    assert native_programs.run_program(host, tell=said.append) == first
    assert said == [f"compiling tvmkd-run for {host.toolchain.triple}"]
    other = targets.load("jetson-nano" if host.architecture == "x86_64" else "x86-64-v3")
    assert native_programs.run_program(other) != first


@pytest.mark.parametrize("name", ["jetson-nano", "x86-64-v3"])
def test_a_program_needs_no_newer_glibc_than_its_target(name: str) -> None:
    target = targets.load(name)
    program = native_programs.run_program(target)
    needs = symbols.check([program], target.toolchain.glibc)[program.name]
    assert set(needs) == {"GLIBC"}


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    host = targets.load("host")
    archive = sample_library.archive(host, tmp_path / "libsample.a")
    program = native_programs.run_program(host, archive=archive)
    assert symbols.needed(program) == {}
    with program.open("rb") as file:
        kinds = {segment.header.p_type for segment in ELFFile(file).iter_segments()}
    assert "PT_INTERP" not in kinds


def test_archives_that_cannot_be_linked(tmp_path: Path) -> None:
    host = targets.load("host")
    with pytest.raises(InputError, match=r"none\.a: there is no such archive"):
        native_programs.run_program(host, archive=tmp_path / "none.a")
    (tmp_path / "bad.a").write_text("hello")
    with pytest.raises(InputError, match=r"bad\.a: cannot be linked into tvmkd-run"):
        native_programs.run_program(host, archive=tmp_path / "bad.a")
