"""Spaces of small networks for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tvmkd import config, targets
from tvmkd.config import Config
from tvmkd.search.space import Space

TARGET = dataclasses.replace(targets.load("x86-64-v3"), channel_multiple=8)


def parse(space: dict[str, Any], **sections: Any) -> Config:
    """A file with a space, of the digits at 16 pixels."""
    data = {"project": {"name": "a"}, "data": {"image_size": 16}, **sections}
    return config.parse({**data, "search": {"space": space}})


def make(space: dict[str, Any], search_in: Path | None = None, **sections: Any) -> Space:
    """The space of `parse`."""
    folders = [] if search_in is None else [search_in]
    return Space.from_config(parse(space, **sections), TARGET, folders)
