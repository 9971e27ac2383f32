"""Object files with data, linked by the machine's linker and read back."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from pathlib import Path

import pytest

from tvmkd.base import elf
from tvmkd.base.toolchain import host_compiler, linker_for, zig

PARTS = [b"abc", b"d" * 130, b"", b"eightby."]


def test_each_part_begins_at_a_multiple_of_the_alignment(tmp_path: Path) -> None:
    found = elf.write_data(tmp_path / "a.o", "x86_64", "data", PARTS)
    assert found == [0, 64, 256, 256]
    stored = (tmp_path / "a.o").read_bytes()
    for offset, part in zip(found, PARTS, strict=True):
        assert stored[elf.ALIGNMENT + offset :].startswith(part)
    assert elf.write_data(tmp_path / "b.o", "x86_64", "data", []) == []


@pytest.mark.parametrize("machine", sorted(elf.MACHINES))
def test_the_machine_is_written_and_its_linker_takes_the_file(machine: str, tmp_path: Path) -> None:
    elf.write_data(tmp_path / "a.o", machine, "data", PARTS)
    assert struct.unpack_from("<H", (tmp_path / "a.o").read_bytes(), 18) == (elf.MACHINES[machine],)
    command = [*zig(), "ld.lld", "-shared", "-o", tmp_path / "a.so", tmp_path / "a.o"]
    subprocess.run(command, check=True)
    assert b"eightby." in (tmp_path / "a.so").read_bytes()


def test_a_library_reads_the_data_where_it_lies(tmp_path: Path) -> None:
    machine = linker_machine()
    offsets = elf.write_data(tmp_path / "data.o", machine, "blob", PARTS)
    source = tmp_path / "a.c"
    source.write_text(
        'extern __attribute__((visibility("hidden"))) char blob[];\n'
        "void *const place = blob;\n"  # an address in full, as a table of headers has it
        "void *at(long offset) { return (char *)place + offset; }\n"
    )
    compiled = [*host_compiler(), "-O1", "-fPIC", "-c", "-o", tmp_path / "a.o", source]
    subprocess.run(compiled, check=True)
    objects = [tmp_path / "a.o", tmp_path / "data.o"]
    subprocess.run([*linker_for(None), "-o", tmp_path / "a.so", *objects], check=True)
    at = ctypes.CDLL(str(tmp_path / "a.so")).at
    at.restype, at.argtypes = ctypes.c_void_p, [ctypes.c_long]
    for offset, part in zip(offsets, PARTS, strict=True):
        assert ctypes.string_at(at(offset), len(part)) == part
        assert at(offset) % elf.ALIGNMENT == 0


def linker_machine() -> str:
    import os

    machine = os.uname().machine
    if machine not in elf.MACHINES:
        pytest.skip(f"no objects for {machine}")
    return machine
