"""Finds the data that ships with tvmkd: target files, tuning records, the demo, recipes."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_CHECKOUT = _PACKAGE.parent

# name: (place in an installed wheel, place in a checkout or an editable install)
_PLACES = {
    "targets": (_PACKAGE / "_targets", _CHECKOUT / "targets"),
    "schedules": (_PACKAGE / "_schedules", _CHECKOUT / "schedules"),
    "demo": (_PACKAGE / "demo", _PACKAGE / "demo"),
    "recipes": (_PACKAGE / "recipes", _PACKAGE / "recipes"),
}


def folder(name: str) -> Path:
    """The folder of shipped data called ``name``: targets, schedules, demo or recipes.

    Raises:
        KeyError: unknown ``name``.
        FileNotFoundError: the installation is broken: the folder is missing.
    """
    for place in _PLACES[name]:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"tvmkd is installed without its {name} (looked in {_PLACES[name][0]})")


def cache(name: str) -> Path:
    """A cache folder, ``$XDG_CACHE_HOME/tvmkd/NAME``; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tvmkd" / name


def state(name: str) -> Path:
    """A folder for what outlives a process, ``$XDG_STATE_HOME/tvmkd/NAME``; it may not exist."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "tvmkd" / name
