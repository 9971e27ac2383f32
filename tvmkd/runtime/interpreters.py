"""Which Python interpreter runs a compiler stack, and with what environment.

Two generations of TVM cannot share an interpreter: the default stack runs in the one that tvmkd
runs in, each other stack needs another one. tvmkd need not be installed there: it is on
``PYTHONPATH``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tvmkd.base import resources, stack_registry
from tvmkd.base.errors import InputError, MissingError

PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Interpreter:
    """The interpreter of a stack.

    Attributes:
        stack: name of an entry of `tvmkd.base.stack_registry`.
        python: path of the interpreter.
        source: where its path was found, for messages.
    """

    stack: str
    python: str
    source: str

    def environment(self) -> dict[str, str]:
        """Environment variables to set for a process that runs this interpreter.

        Raises:
            InputError: the folder that holds a link to tvmkd cannot be made.
        """
        variable = stack_registry.get(self.stack).variable
        if variable is None:
            return {}
        return {
            # In place of what is inherited, which may hold packages of the main interpreter.
            "PYTHONPATH": os.fspath(package_path()),
            "PYTHONNOUSERSITE": "1",
            # Else TVM looks for other people's tuning records on the network.
            "TOPHUB_LOCATION": "NONE",
            # Processes that this one starts then find the same interpreter.
            variable: self.python,
        }


def find(stack: str, given: str | os.PathLike[str] | None = None) -> Interpreter:
    """Finds the interpreter of a stack: the given one, else the variable's, else the installed one.

    Args:
        stack: its name. A stack without an interpreter of its own runs in this one: ``given`` is
            ignored then.
        given: the value of ``--stack-python``.

    Raises:
        UsageError: there is no such stack.
        InputError: the path given, or the value of the variable, is no program.
        MissingError: no interpreter is known for this stack, or the recorded one is gone.
    """
    variable = stack_registry.get(stack).variable
    if variable is None:
        return Interpreter(stack, sys.executable, "this environment")
    if given is not None:
        return Interpreter(stack, _program(os.fspath(given), "--stack-python"), "--stack-python")
    if os.environ.get(variable):
        return Interpreter(stack, _program(os.environ[variable], variable), variable)
    record = record_path(stack)
    install = f"tvmkd stack install {stack}"
    if not record.exists():
        raise MissingError(
            f"the {stack} stack is not installed; run {install}, or set {variable} to the Python "
            "that has its TVM"
        )
    try:
        python = json.loads(record.read_text(encoding="utf-8"))["python"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(
            f"{record}: cannot be read ({type(error).__name__}); run {install}"
        ) from None
    if not isinstance(python, str) or not os.access(python, os.X_OK):
        raise MissingError(f"{python}, which {record} names, is gone; run {install}")
    return Interpreter(stack, python, os.fspath(record))


def home() -> Path:
    """The folder for stacks that tvmkd installs: ``$XDG_DATA_HOME/tvmkd/stacks``."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "tvmkd" / "stacks"


def record_path(stack: str) -> Path:
    """The file that says where an installed stack is."""
    return home() / f"{stack}.json"


def _program(text: str, source: str) -> str:
    # Not resolved: the python of a virtual environment is a link, and only the link's own place
    # tells it which environment it is.
    found = shutil.which(os.path.expanduser(text))
    if found is None:
        raise InputError(
            f"{text}: is not a program that can be run (from {source}); give the Python that has "
            "TVM, for example /path/to/venv/bin/python"
        )
    return os.path.abspath(found)


def package_path() -> Path:
    """A folder that holds tvmkd and nothing else, for ``PYTHONPATH``.

    The folder that tvmkd itself lies in will not do: in a wheel's site-packages it also holds every
    package of the main interpreter.

    Raises:
        InputError: the cache folder cannot be written.
    """
    base = resources.cache("path")
    folder = base / hashlib.sha256(os.fsencode(PACKAGE)).hexdigest()[:16]
    link = folder / "tvmkd"
    if not _leads_here(link):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Beside the folder, so that it never holds anything but the link.
            with tempfile.TemporaryDirectory(prefix=".link-", dir=base) as work:
                made = Path(work) / "tvmkd"
                made.symlink_to(PACKAGE, target_is_directory=True)
                made.replace(link)
        except OSError as error:
            raise InputError(
                f"{link}: cannot be made ({error.strerror}); set XDG_CACHE_HOME to a folder that "
                "can be written"
            ) from None
    return folder


def _leads_here(link: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(link) == os.fspath(PACKAGE)
    return False
