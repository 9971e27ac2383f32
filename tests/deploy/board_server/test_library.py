"""The library through ctypes, against the header that it mirrors."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from tvmkd.base.toolchain import host_compiler
from tvmkd.deploy.board_server import library
from tvmkd.deploy.native_programs import HEADERS


def test_the_structures_are_those_of_the_header(tmp_path: Path) -> None:
    pairs = {
        "tvmkd_tensor": library.TensorStruct,
        "tvmkd_options": library.OptionsStruct,
        "tvmkd_library": library.LibraryStruct,
    }
    lines = ['#include "tvmkd.h"', "#include <stdio.h>", "int main(void) {"]
    wanted = []
    for name, kind in pairs.items():
        lines.append(f'printf("%zu\\n", sizeof({name}));')
        # Members may be added at the end of the library's.
        wanted.append(ctypes.sizeof(kind) if kind is not library.LibraryStruct else 0)
        for field in kind._fields_:
            lines.append(f'printf("%zu\\n", offsetof({name}, {field[0]}));')
            wanted.append(getattr(kind, field[0]).offset)
    source = tmp_path / "sizes.c"
    source.write_text("\n".join([*lines, "}"]))
    try:
        subprocess.run(
            [*host_compiler(), "-I", HEADERS, source, "-o", tmp_path / "sizes"], check=True
        )
    except FileNotFoundError:
        pytest.skip("no C compiler")
    printed = subprocess.run(
        [tmp_path / "sizes"], capture_output=True, text=True, check=True
    ).stdout
    found = [int(line) if size else 0 for line, size in zip(printed.split(), wanted, strict=True)]
    assert found == wanted


def test_tensors_are_laid_out_one_after_the_other() -> None:
    shape = (ctypes.c_int64 * 2)(1, 20)
    made = [library.TensorStruct(b"x", b"float32", shape, 2, 80) for _ in range(3)]
    found, end = library.layout(made, 3, 64)
    assert [each["place"] for each in found] == [64, 192, 320]
    assert end == 448
    assert found[0]["shape"] == [1, 20]
    assert (found[0]["datatype"], found[0]["letter"], found[0]["count"]) == ("FP32", "f", 20)
    with pytest.raises(ValueError, match="complex64"):
        library.layout([library.TensorStruct(b"x", b"complex64", shape, 2, 160)], 1, 0)
