"""Writes what is known about a fault to a file that a user can send us."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from tvmkd.base import resources
from tvmkd.base.version import __version__

KEPT = 20  # reports; older ones are removed
PACKAGES = (
    "apache-tvm",
    "apache-tvm-ffi",
    "click",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pydantic",
    "tensorrt",
    "torch",
    "torchvision",
    "xgboost",
)
SECRET = ("--rpc-key", "--ssh")
"""Options whose values are left out: they name machines, or let somebody use them."""


def write(error: BaseException, argv: Sequence[str]) -> Path | None:
    """Writes a report on ``error``; returns its path, or None if no folder can be written.

    It has the versions of everything, the command line without keys, and the tracebacks. It has no
    environment variables, no values of variables and no content of files.

    Args:
        error: with the traceback of a worker in its ``details``, if it has some.
        argv: the command line, without the program's name.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    text = "".join(_text(error, argv, now))
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"fault-{now:%Y%m%d-%H%M%S}-{os.getpid()}.txt"
            with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(text)
            for old in sorted(folder.glob("fault-*.txt"))[:-KEPT]:
                old.unlink(missing_ok=True)
            return path
    return None


def _folders() -> Iterator[Path]:
    with contextlib.suppress(RuntimeError):  # there is no home
        yield resources.state("reports")
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir())


def _text(error: BaseException, argv: Sequence[str], now: datetime.datetime) -> Iterator[str]:
    yield f"tvmkd {__version__}, {now.isoformat(timespec='seconds')}\n"
    yield f"command: {shlex.join(['tvmkd', *without_secrets(argv)])}\n"
    yield f"Python {sys.version.split()[0]}, {platform.platform()}, {os.cpu_count()} CPUs\n"
    yield f"packages: {', '.join(_versions())}\n\n"
    yield _plain("".join(traceback.format_exception(error)))
    details = getattr(error, "details", "")
    if details:
        yield f"\nIn the worker:\n\n{_plain(details)}"


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield f"{name} {metadata.version(name)}"


def without_secrets(argv: Sequence[str]) -> list[str]:
    """The command line without the values of `SECRET` and without passwords in addresses."""
    shown: list[str] = []
    for word in argv:
        name, equals, _ = word.partition("=")
        if shown and shown[-1] in SECRET:
            word = "..."
        elif equals and name in SECRET:
            word = f"{name}=..."
        shown.append(_plain(word))
    return shown


def _plain(text: str) -> str:
    return re.sub(r"(://)[^/@\s]+@", r"\1...@", text)
