"""What a run folder remembers: which stages are done, from what, and what came out.

``state.json`` is written in one step after each stage. A stage is done while the key of everything
it reads is the same and its files are as it left them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tvmkd import __version__
from tvmkd.errors import InputError

FILE = "state.json"
FORMAT = "tvmkd.run"


@contextlib.contextmanager
def draft(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A temporary name beside ``path``, which gets its own at the end, or goes where that fails.

    Args:
        suffix: of the temporary name, for libraries that add theirs where it is missing.
    """
    written = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        yield written
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as JSON to a temporary name, then gives it its own."""
    with draft(path) as written, written.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


def key(stage: str, **reads: Any) -> str:
    """The hash of everything that a stage reads: JSON-safe values, and hashes of its files."""
    text = json.dumps({"stage": stage, "tvmkd": __version__, **reads}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files by name (hidden ones left out)."""
    digest = hashlib.sha256()
    paths = [path]
    if path.is_dir():
        paths = sorted(item for item in path.rglob("*") if item.is_file())
    for item in paths:
        if item.name.startswith("."):
            continue
        digest.update(f"{item.relative_to(path)}\0".encode())
        with item.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def listing_hash(folder: Path | None) -> str | None:
    """A hash of a data folder's names, sizes and times: reading every image would take long."""
    if folder is None or not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            facts = path.stat()
            name = path.relative_to(folder)
            digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def source_hash(spec: str, search_in: Sequence[Path] = ()) -> str | None:
    """The hash of the file behind a ``module:callable``, None where there is none of the user's.

    Args:
        spec: a model as in the config.
        search_in: folders to look in besides the current one.
    """
    module, _, attribute = spec.partition(":")
    if not attribute or module == "torchvision":
        return None
    name = module.replace(".", "/")
    for folder in (Path(), *search_in):
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.is_file():
                return file_hash(path)
    return None


class RunFolder:
    """A run's folder and its state. Use as a context manager: it is locked while it is open.

    Raises:
        InputError: the folder is someone else's, is in use by another tvmkd, or its state cannot
            be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; give another output folder")
        strangers = (
            (item for item in path.iterdir() if item.name != ".lock") if path.is_dir() else ()
        )
        if not (path / FILE).exists() and any(strangers):
            raise InputError(
                f"{path}: is there already and is not a run of tvmkd, so it is left alone; "
                "give another output folder"
            )
        path.mkdir(parents=True, exist_ok=True)
        self._lock = (path / ".lock").open("w", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise InputError(
                f"{path}: another tvmkd is working in this folder; wait for it or give another one"
            ) from None
        self._state = self._read()
        if not (path / FILE).exists():
            write_json(path / FILE, self._state)

    def _read(self) -> dict[str, Any]:
        path = self.path / FILE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
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

    def __exit__(self, *_: object) -> None:
        self._lock.close()

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

    def seconds(self, stage: str) -> float:
        """How long the stage took when it last ran."""
        return float(self._state["stages"].get(stage, {}).get("seconds", 0.0))


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    """Gives a list that holds the block's seconds once it is over."""
    result: list[float] = []
    start = time.monotonic()
    yield result
    result.append(time.monotonic() - start)
