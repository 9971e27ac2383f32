"""Which compiler stacks this machine has, and why one cannot be used.

Each interpreter is asked in a process of its own, since a broken TVM may take it down.
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

from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.text import listing
from tvmkd.runtime import interpreters
from tvmkd.runtime.interpreters import STACKS, Interpreter

TIMEOUT = 120.0  # seconds an interpreter may take to answer
OLDEST_PYTHON = (3, 10)
RELAY_VERSIONS = ((0, 14), (0, 19))  # first and last that we have code for
NEEDED = {
    "relax": (),  # tvmkd's own requirements see to these
    "relay": (
        "cloudpickle",
        "numpy",
        "onnx",
        "onnxruntime",
        "psutil",
        "pydantic",
        "tornado",
        "xgboost",
    ),
}
_PACKAGES = {"attr": "attrs"}  # modules whose package has another name
_PROBE = Path(__file__).with_name("probe.py")
_FACTS = ("tvm", "llvm", "cuda", "tensorrt")


def survey(
    stacks: Iterable[str] = STACKS, given: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """What every stack's interpreter has.

    Args:
        stacks: their names.
        given: the interpreter of those that do not run in this one (``--stack-python``).

    Returns:
        for every stack ``{"name", "python", "source", "tvm", "llvm", "cuda", "tensorrt", "reason",
        "fix", "note"}``: ``llvm`` is its major version, ``cuda`` and ``tensorrt`` say whether TVM
        writes code for these, ``reason`` is None where the stack can be used, ``fix`` is the
        command that mends it, and ``note`` a warning where it can. What is not known is None.

    Raises:
        UsageError: there is no such stack.
        InputError: ``given`` is no program.
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
    """What :mod:`tvmkd.stacks.probe` says in that interpreter.

    A process that crashes, hangs or says something else is an answer too: of the kind ``crash``.
    """
    code = _PROBE.read_text(encoding="utf-8")
    command = [found.python, "-c", code, found.stack, *NEEDED[found.stack]]
    with tempfile.TemporaryDirectory(prefix="tvmkd-probe-") as empty:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, **found.environment()},
                # A classic TVM makes a folder for pickles where it is imported, and reads it.
                cwd=None if found.stack == "relax" else empty,
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
    """An exit status in words."""
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
    """The reason why a stack cannot be used and the command that mends it, or twice None."""
    install = f"tvmkd stack install {found.stack}"
    if found.stack == "relax":
        install = "tvmkd doctor (it names the packages)"
    kind, problem = answer.get("kind"), answer.get("problem")
    if kind == "crash":
        return f"its process {problem}", install
    version = tuple(answer["python_version"])
    if version < OLDEST_PYTHON:
        spoken = ".".join(map(str, version))
        return f"is Python {spoken}; the worker needs 3.10 or newer", install
    if kind == "no tvm":
        hidden = "" if found.stack == "relax" or not os.environ.get("PYTHONPATH") else _HIDDEN
        return f"has no TVM{hidden}", install
    if kind == "no stack":
        return _no_stack(found.stack, answer["tvm"]), install
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


def _no_stack(stack: str, version: str) -> str:
    if stack == "relay":
        return f"its TVM {version} has no Relay: 0.20 and newer have Relax only"
    return f"its TVM {version} has no Relax"


def _pip(python: str, packages: Sequence[str]) -> str:
    return shlex.join([python, "-m", "pip", "install", *packages])


def _note(name: str, version: str) -> str | None:
    if name != "relay":
        return None
    numbers = re.match(r"(\d+)\.(\d+)", version)
    first, last = RELAY_VERSIONS
    if numbers and first <= (int(numbers[1]), int(numbers[2])) <= last:
        return None
    spoken = " to ".join(".".join(map(str, each)) for each in RELAY_VERSIONS)
    return f"TVM {version} has not been tried: the relay stack is written for {spoken}"
