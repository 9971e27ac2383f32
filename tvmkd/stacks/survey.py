"""Finds the compiler stacks of this machine, and the reasons why one cannot be used.

Each interpreter is examined in a subprocess, since a broken TVM may crash the process.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base import stack_registry
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.text import listing
from tvmkd.runtime import interpreters
from tvmkd.runtime.interpreters import Interpreter

TIMEOUT = 120.0  # time limit of an interpreter, seconds
OLDEST_PYTHON = (3, 10)
_PACKAGES = {"attr": "attrs"}  # modules with another package name
_PROBE = Path(__file__).with_name("probe.py")
_FACTS = ("tvm", "llvm", "cuda", "tensorrt")


def survey(
    stacks: Iterable[str] = stack_registry.names(), given: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """Examines the interpreter of each stack.

    Args:
        stacks: names of the stacks.
        given: the interpreter for stacks that do not run in this one (``--stack-python``).

    Returns:
        for every stack ``{"name", "python", "source", "tvm", "llvm", "cuda", "tensorrt", "reason",
        "fix", "note"}``: ``llvm`` is its major version, ``cuda`` and ``tensorrt`` are true if TVM
        can generate code for them, ``reason`` is None if the stack can be used, otherwise ``fix``
        is the command that fixes it, and ``note`` is a warning for a usable stack. Unknown values
        are None.

    Raises:
        UsageError: a stack is unknown.
        InputError: ``given`` is not an executable program.
    """
    return [_row(name, given) for name in stacks]


def _row(name: str, given: str | os.PathLike[str] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "python": None, "source": None}
    row.update(dict.fromkeys((*_FACTS, "reason", "fix", "note")))
    try:
        found = interpreters.find(name, given)
    except (MissingError, InputError) as error:
        if given is not None:
            raise
        row["reason"], _, remedy = str(error).partition("; ")
        row["fix"] = remedy.removeprefix("run ")
        return row
    row.update(python=found.python, source=found.source)
    answer = ask(found)
    row.update((key, answer[key]) for key in _FACTS if key in answer)
    row["reason"], row["fix"] = _judge(found, answer)
    if row["reason"] is None:
        row["note"] = _note(name, row["tvm"])
    return row


def ask(found: Interpreter, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Runs :mod:`tvmkd.stacks.probe` in an interpreter and returns its facts.

    If the process crashes, hangs or prints something else, the result has the kind ``crash``.
    """
    entry = stack_registry.get(found.stack)
    question = {
        "stack": entry.name,
        "needed": entry.packages,
        "tensorrt_codegen": entry.tensorrt_codegen,
        "without_torch": not entry.own_interpreter,
    }
    command = [found.python, "-c", _PROBE.read_text(encoding="utf-8"), json.dumps(question)]
    with tempfile.TemporaryDirectory(prefix="tvmkd-probe-") as empty:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, **found.environment()},
                # A classic TVM creates and reads a folder of pickles in the working directory.
                cwd=empty if entry.own_interpreter else None,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return {"kind": "crash", "problem": f"gave no answer in {timeout:.0f} s"}
        except OSError as error:
            return {"kind": "crash", "problem": f"cannot be run: {error.strerror}"}
    if done.returncode == 0:
        try:
            answer: dict[str, Any] = dict(json.loads(done.stdout.splitlines()[-1]))
            return answer
        except (ValueError, TypeError, IndexError):
            return {"kind": "crash", "problem": "printed no answer: is it a Python?"}
    return {"kind": "crash", "problem": f"ended with {how(done.returncode)}{tail(done.stderr)}"}


def how(code: int) -> str:
    """Describes an exit status."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def tail(text: str) -> str:
    """``: `` and the last line of what a process wrote, or an empty string."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""


def _judge(found: Interpreter, answer: dict[str, Any]) -> tuple[str | None, str | None]:
    """The reason why a stack cannot be used and the command that fixes it, or None and None."""
    entry = stack_registry.get(found.stack)
    install = f"tvmkd stack install {found.stack}"
    if entry.installer is None:
        install = "tvmkd doctor (it names the packages)"
    kind, problem = answer.get("kind"), answer.get("problem")
    if kind == "crash":
        return f"its process {problem}", install
    version = tuple(answer["python_version"])
    if version < OLDEST_PYTHON:
        spoken = ".".join(map(str, version))
        return f"is Python {spoken}; the worker needs 3.10 or newer", install
    if kind == "no tvm":
        hidden = _HIDDEN if entry.own_interpreter and os.environ.get("PYTHONPATH") else ""
        return f"has no TVM{hidden}", install
    if kind == "no stack":
        why = f": {entry.absent}" if entry.absent else ""
        return f"its TVM {answer['tvm']} has no {entry.title}{why}", install
    if kind == "broken":
        return f"its TVM cannot be imported: {problem}", install
    absent = list(answer["absent"])
    if kind == "no module":
        name = str(problem).partition(".")[0]
        absent = sorted({*absent, _PACKAGES.get(name, name)})
    if absent:
        return f"has no {listing(absent)}", _pip(found.python, absent)
    if answer["llvm"] is None:
        return "its TVM was built without LLVM", install
    return None, None


_HIDDEN = (
    " (PYTHONPATH is not passed on to it: name TVM's python folder in a .pth file of its "
    "site-packages)"
)


def _pip(python: str, packages: Sequence[str]) -> str:
    return shlex.join([python, "-m", "pip", "install", *packages])


def _note(name: str, version: str) -> str | None:
    versions = stack_registry.get(name).versions
    if versions is None:
        return None
    numbers = re.match(r"(\d+)\.(\d+)", version)
    first, last = versions
    if numbers and first <= (int(numbers[1]), int(numbers[2])) <= last:
        return None
    spoken = " to ".join(".".join(map(str, each)) for each in versions)
    return f"TVM {version} has not been tried: the {name} stack is written for {spoken}"
