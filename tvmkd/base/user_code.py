"""A user's ``module:callable``: imported from beside the config, its errors as one line."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError
from tvmkd.base.text import suggest


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
    except Exception as error:  # a user's module may fail in any way
        raise InputError(f"{what}: {describe(error)}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{what}: {module} has no {name}{suggest(part, vars(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"{what}: {name} is not callable")
    factory: Callable[..., Any] = found
    return factory


def describe(error: BaseException, *ours: str) -> str:
    """An error of a user's code in one line, with the place where it was raised.

    Args:
        ours: files of tvmkd whose frames are not that place.
    """
    frames = traceback.extract_tb(error.__traceback__)
    known = {__file__, *ours}
    last = next((frame for frame in reversed(frames) if frame.filename not in known), None)
    place = f" ({Path(last.filename).name}:{last.lineno})" if last and last.lineno else ""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}{place}"
