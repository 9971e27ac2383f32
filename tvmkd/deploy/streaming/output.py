"""Writes a stream's folder: ``stream.json``, ``stream.html`` and ``frames.npz``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base.files import draft, write_text
from tvmkd.base.folders import undone
from tvmkd.deploy.streaming import page
from tvmkd.deploy.streaming.record import COLUMNS, Table, column
from tvmkd.deploy.streaming.result import StreamResult

JSON, PAGE, FRAMES = "stream.json", "stream.html", "frames.npz"


def write(folder: Path, result: StreamResult, frames: Table) -> None:
    """Writes the three files, each in one step; a new folder goes again where that fails.

    ``frames.npz`` has an int64 array for each of `tvmkd.deploy.streaming.record.COLUMNS`: times in
    ns of the monotonic clock.

    Raises:
        InputError: the folder cannot be written.
    """
    with undone(folder):
        with draft(folder / FRAMES, ".tmp.npz") as place:
            arrays: dict[str, Any] = {name: column(frames, name) for name in COLUMNS}
            np.savez_compressed(place, **arrays)
        write_text(folder / PAGE, page.render(result))
        result.save(folder / JSON)
