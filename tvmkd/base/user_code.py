"""A user's ``module:callable``: imported from beside the config, its errors as one line."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.text import first_line, suggest

LIBRARIES = ("torchvision", "timm")
"""Libraries of models, whose networks are named ``LIBRARY:NAME``: no user's code."""

_OURS = os.path.join(os.path.realpath(os.path.join(os.path.dirname(__file__), "..")), "")
_PYTHON = os.path.join(os.path.realpath(sysconfig.get_path("stdlib")), "")
_INSTALLED = re.compile(r"(^|[/\\\\])(site|dist)-packages[/\\\\]")
# Where users' code lies, noted by `load`: folders, and single modules among installed ones.
_FOLDERS: set[str] = set()
_MODULES: set[str] = set()


def is_own(spec: str) -> bool:
    """True if ``spec`` is a ``module:callable`` of the user, not a name or ``LIBRARY:NAME``."""
    return ":" in spec and spec.partition(":")[0] not in LIBRARIES


def load(spec: str, what: str, search_in: Sequence[Path] = ()) -> Callable[..., Any]:
    """Imports the callable that ``spec`` names.

    Args:
        spec: ``module:callable``; the part after the colon may have dots. The module is looked for
            in the current folder, then in ``search_in``, then where Python looks.
        what: starts each message, for example ``model "mine:net"``.
        search_in: folders, such as that of the config file.

    Raises:
        InputError: the module does not import, or has no such callable.
    """
    module, _, name = spec.partition(":")
    # They stay on the path: a factory may import its neighbours only when it is called.
    for folder in reversed([Path.cwd(), *search_in]):
        if str(folder.resolve()) not in sys.path:
            sys.path.insert(0, str(folder.resolve()))
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise InputError(f"{what}: {describe(error)}") from error
        places = ", ".join(dict.fromkeys(str(place.resolve()) for place in (Path(), *search_in)))
        raise InputError(
            f"{what}: there is no module {error.name} in {places} or installed"
        ) from None
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        raise InputError(f"{what}: {describe(error)}") from error
    _remember(found)
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{what}: {module} has no {name}{suggest(part, vars(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"{what}: {name} is not callable")
    factory: Callable[..., Any] = found
    return factory


@contextlib.contextmanager
def guard(what: str, *, theirs: bool = False) -> Iterator[None]:
    """Raises what a user's code raises in the block as one line.

    Args:
        what: starts the message, for example ``student "mine:net"``.
        theirs: every error in the block is the user's, also one that was raised in a library:
            autograd says what is wrong with a model where the model does not run.

    Raises:
        InputError: for an error of the user's code. Others, and those of tvmkd, stay as they are.
    """
    try:
        yield
    except TvmkdError:
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
            raise InputError(
                f"{what}: the GPU's memory is full: {first_line(error)}; use a smaller batch_size "
                "or network"
            ) from error
        if isinstance(error, (OSError, MemoryError)) or not (theirs or _place(error)):
            raise
        raise InputError(f"{what}: {describe(error)}") from error


def blamed(error: BaseException) -> InputError | None:
    """The error to show for an exception that was raised in or below a user's code, else None."""
    if isinstance(error, (TvmkdError, KeyboardInterrupt)) or _place(error) is None:
        return None
    return InputError(f"your own code failed: {describe(error)}; correct it there")


def describe(error: BaseException, *ours: str) -> str:
    """An error of a user's code in one line, with the place where it was raised.

    Args:
        ours: files of tvmkd whose frames are not that place.
    """
    place = _place(error)
    if place is None:
        frames = traceback.extract_tb(error.__traceback__)
        known = {__file__, *ours}
        last = next((frame for frame in reversed(frames) if frame.filename not in known), None)
        place = f"{Path(last.filename).name}:{last.lineno}" if last and last.lineno else None
    text = first_line(error) if str(error).strip() else ""
    return f"{type(error).__name__}: {text}{f' ({place})' if place else ''}"


def _place(error: BaseException) -> str | None:
    """File and line of the innermost frame in code that `load` imported, or in its neighbours."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = os.path.realpath(frame.filename)
        if path.startswith(_PYTHON) and not _INSTALLED.search(path):
            continue  # a model may be named there: json:loads
        for folder in _FOLDERS:
            inside = path.removeprefix(folder)
            if inside != path and not _INSTALLED.search(inside) and not path.startswith(_OURS):
                return f"{inside}:{frame.lineno}"
        if path in _MODULES:
            return f"{os.path.basename(path)}:{frame.lineno}"
    return None


def _remember(module: ModuleType) -> None:
    """Notes whose errors are the user's: those of a module, and of the others in its folder."""
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    for path in (getattr(top, "__file__", None), *getattr(top, "__path__", ())):
        if path is None:
            continue
        real = os.path.realpath(path)
        if os.path.isdir(real):
            _FOLDERS.add(os.path.join(real, ""))
        elif _INSTALLED.search(real):
            _MODULES.add(real)
        else:
            _FOLDERS.add(os.path.join(os.path.dirname(real), ""))
