"""Compiles the programs in C for this machine, with gcc's sanitizers (ASan and UBSan)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tvmkd.deploy.native_programs import BOARDS, HEADERS, NATIVE, SOURCES, source

FLAGS = (
    *("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", '-DTVMKD_VERSION="0"'),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)


def build(out: Path, sources: Sequence[Path], *flags: str) -> Path:
    """Compiles files of C; skips the test where gcc or its sanitizers are missing."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc, whose sanitizers this test needs")
    command = ["gcc", *FLAGS, *flags]
    command += [word for folder in (HEADERS, NATIVE, BOARDS) for word in ("-I", os.fspath(folder))]
    command += ["-o", os.fspath(out), *map(os.fspath, sources), "-lpthread", "-ldl", "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("gcc has no sanitizers here: apt install libasan8 libubsan1")
    assert done.returncode == 0, done.stderr
    return out


def program(name: str, out: Path) -> Path:
    """One of `SOURCES`."""
    return build(out, [source(each) for each in SOURCES[name]])
