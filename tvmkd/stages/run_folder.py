"""What a run folder remembers: which stages are done, from what, and what came out.

``state.json`` is written in one step after each stage. A stage is done while the key of everything
it reads is the same and its files are as it left them.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError, unwritable
from tvmkd.base.files import file_hash, read_text, write_json
from tvmkd.base.locks import Lock
from tvmkd.base.version import __version__

FILE, LOCK = "state.json", ".lock"
FORMAT = "tvmkd.run"


class RunFolder:
    """A run's folder and its state. Use as a context manager: it is locked while it is open.

    If an error ends the block before anything was written into a new folder, the folder is removed
    again, with those above it that were made for it.

    Raises:
        InputError: the folder is not a run's, in use by another tvmkd, or cannot be written, or
            its state cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; give another output folder")
        strangers = (item for item in path.iterdir() if item.name != LOCK) if path.is_dir() else ()
        if not (path / FILE).exists() and any(strangers):
            raise InputError(
                f"{path}: exists already and is not a run of tvmkd, so it is left alone; "
                "give another output folder"
            )
        self._made = [each for each in (path, *path.parents) if not each.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(path / LOCK, "working in this folder", "give another one")
        except OSError as error:
            raise unwritable(error, path) from None
        self._state = self._read()
        self._new = not (path / FILE).exists()
        if self._new:
            write_json(path / FILE, self._state)

    def _read(self) -> dict[str, Any]:
        path = self.path / FILE
        try:
            state = json.loads(read_text(path))
        except FileNotFoundError:
            return {"format": FORMAT, "version": 1, "stages": {}}
        except (OSError, ValueError):
            raise InputError(
                f"{path}: is damaged; remove this one file to run every stage again"
            ) from None
        if not isinstance(state, dict) or (state.get("format"), state.get("version")) != (
            FORMAT,
            1,
        ):
            raise InputError(f"{path}: is not the state of a tvmkd run; give another output folder")
        return state

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._new and not self._state["stages"]:
            self._remove_if_empty()
        self._lock.close()

    def _remove_if_empty(self) -> None:
        if {item.name for item in self.path.iterdir()} <= {FILE, LOCK}:
            for name in (FILE, LOCK):  # the lock is held until it is closed
                (self.path / name).unlink(missing_ok=True)
            for folder in self._made:
                with contextlib.suppress(OSError):  # others write there
                    folder.rmdir()

    def done(self, stage: str, stage_key: str) -> dict[str, Any] | None:
        """What the stage gave, if it is done with that key and its files are as it left them."""
        entry = self._state["stages"].get(stage)
        if entry is None or entry["key"] != stage_key:
            return None
        for name, digest in entry["files"].items():
            path = self.path / name
            if not path.exists() or file_hash(path) != digest:
                return None
        result: dict[str, Any] = entry["result"]
        return result

    def finish(
        self,
        stage: str,
        stage_key: str,
        files: Sequence[Path],
        result: dict[str, Any],
        seconds: float,
    ) -> None:
        """Remembers that a stage is done. ``files`` (or folders) lie in this folder."""
        self._state["stages"][stage] = {
            "key": stage_key,
            "files": {str(p.relative_to(self.path)): file_hash(p) for p in files},
            "result": result,
            "seconds": round(seconds, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "tvmkd": __version__,
        }
        write_json(self.path / FILE, self._state)
