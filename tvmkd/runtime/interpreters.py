"""Which Python interpreter runs a compiler stack, and with what environment.

Two generations of TVM cannot share an interpreter: each stack but ``relax`` has one of its own.
tvmkd need not be installed there, it comes along on ``PYTHONPATH``.
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

from tvmkd.base import resources
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.base.text import suggest

STACKS = ("relax", "relay")
VARIABLES = {"relay": "TVMKD_RELAY_PYTHON"}
PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Interpreter:
    """The interpreter of a stack.

    Attributes:
        stack: one of ``STACKS``.
        python: the path of the interpreter.
        source: who chose it, in words for people.
    """

    stack: str
    python: str
    source: str

    def environment(self) -> dict[str, str]:
        """What to set in the environment of a process that runs this interpreter.

        Raises:
            InputError: the folder that brings tvmkd along cannot be made.
        """
        if self.stack == "relax":
            return {}
        return {
            # In place of what is inherited, which may hold packages of the main interpreter.
            "PYTHONPATH": os.fspath(package_path()),
            "PYTHONNOUSERSITE": "1",
            # Else TVM looks for other people's tuning records on the network.
            "TOPHUB_LOCATION": "NONE",
            # So that what this process starts finds the same one.
            VARIABLES[self.stack]: self.python,
        }


def find(stack: str, given: str | os.PathLike[str] | None = None) -> Interpreter:
    """The interpreter of a stack: the one given, else the variable's, else the recorded one.

    Args:
        stack: one of ``STACKS``; ``relax`` runs in this interpreter, whatever is given.
        given: what ``--stack-python`` says.

    Raises:
        UsageError: there is no such stack.
        InputError: what was given, or what the variable says, is no program.
        MissingError: no interpreter is known for this stack, or the recorded one is gone.
    """
    check_stack(stack)
    if stack == "relax":
        return Interpreter(stack, sys.executable, "this environment")
    variable = VARIABLES[stack]
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


def check_stack(stack: str) -> None:
    """Makes sure that there is such a stack.

    Raises:
        UsageError: there is not.
    """
    if stack not in STACKS:
        raise UsageError(
            f'unknown stack "{stack}"{suggest(stack, STACKS)} (known: {", ".join(STACKS)})'
        )


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
