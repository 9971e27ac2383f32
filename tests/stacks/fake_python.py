"""Stand-ins for other Python interpreters."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base import machine
from tvmkd.stacks.relay import install

TVM = """
__version__ = {version!r}
def get_global_func(name, allow_missing=False):
    return (lambda: 15) if name in {functions!r} else None
"""
EVERYTHING = (
    "target.llvm_version_major",
    "target.build.cuda",
    "relay.ext.tensorrt.is_runtime_enabled",
)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def with_modules(folder: Path, modules: Mapping[str, str]) -> Path:
    """An interpreter that has the standard library and these modules (name: text) only."""
    for name, text in modules.items():
        place = folder / "modules" / f"{name.replace('.', '/')}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    own = shlex.quote(str(folder / "modules"))
    lines = f'export PYTHONPATH={own}:"$PYTHONPATH"\nexec {shlex.quote(sys.executable)} -S "$@"'
    return script(folder / "bin" / "python", lines)


def tvm(version: str = "0.16.dev0", functions: tuple[str, ...] = EVERYTHING) -> str:
    """The text of a ``tvm`` that has these global functions."""
    return TVM.format(version=version, functions=functions)


# What it does is steered by files beside it: fail-venv, fail-pip, fail-smoke.
PYTHON_310 = """
beside={beside}
case "$*" in
*'import sys; print'*) echo cpython 3 10;;
'-m venv '*)
  test ! -e $beside/fail-venv || {{ echo 'ensurepip is not available'; exit 1; }}
  mkdir -p "$3/bin" && cp $beside/python "$3/bin/python" && touch "$3/bin/pip";;
'-m pip install '*)
  echo "$*" >> $beside/pip.log
  test ! -e $beside/fail-pip || {{ echo 'ERROR: no such host' >&2; exit 1; }};;
'-m tvmkd.stacks.relay.smoke')
  test ! -e $beside/fail-smoke || {{ echo 'free(): invalid pointer' >&2; kill -ABRT $$; }}
  echo noise; cat $beside/answer.json;;
*) exit 9;;
esac"""


def python_310(folder: Path) -> Path:
    """A CPython 3.10 that makes environments, fetches packages and compiles, all in a moment."""
    packages = dict(name.split("==") for name in (*install.BARE, *install.FULL))
    answer: dict[str, Any] = {"tvm": "0.16.dev0", "llvm": 15, "packages": packages}
    python = script(folder / "python", PYTHON_310.format(beside=shlex.quote(str(folder))))
    (folder / "answer.json").write_text(json.dumps(answer))
    return python


def where_it_installs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake CPython 3.10, on a machine that can run the build and has no stack yet."""
    monkeypatch.setattr(machine, "architecture", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("TVMKD_RELAY_PYTHON", raising=False)
    return python_310(folder / "fake")
