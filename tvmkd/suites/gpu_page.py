"""The page of ``scripts/gpu_check.sh``: ``python -m tvmkd.suites.gpu_page FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.files import read_text, write_text
from tvmkd.base.version import __version__
from tvmkd.report import environment
from tvmkd.report.view import Cell, Note, Row, Section, Table, Tile
from tvmkd.suites import page, result

FILE = "gpu_check.json"
SUITE = "suite"


def write(folder: Path) -> Path:
    """Writes ``index.html`` into the folder of a check.

    Raises:
        InputError: it is no such folder, or the page cannot be written.
    """
    path = folder / "index.html"
    write_text(path, render(folder))
    return path


def render(folder: Path) -> str:
    """The page as text: the steps, and the suite as far as it came."""
    found = _read(folder / FILE)
    steps = found["steps"]
    bad = [name for name, step in steps.items() if step["state"] != "ok"]
    gpus = found.get("gpus") or []
    card = gpus[0]["name"] if gpus else "no GPU"
    parts = [_steps(steps)]
    notes = [Note(f"did not work: {steps[name]['text']}", name) for name in bad]
    if (folder / SUITE / result.FILE).is_file():
        suite = result.load(folder / SUITE)
        parts += page.sections(suite, folder / SUITE)
        notes += page.notes(suite, folder / SUITE)
    count = f"{len(steps) - len(bad)} of {len(steps)} steps worked"
    return environment.render(
        "report.html",
        title=f"tvmkd on {card}: {count}",
        emulated=False,
        eyebrow=["GPU check", card],
        headline=f"{card}: {count}",
        detail="",
        footer=f"tvmkd {__version__}",
        tiles=_tiles(found),
        notes=notes,
        sections=parts,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(read_text(path))
        found["steps"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not what scripts/gpu_check.sh writes: {error}") from None
    return found


def _steps(steps: dict[str, Any]) -> Section:
    rows = [
        Row(
            name,
            [
                Cell("", pill=step["state"], mood="good" if step["state"] == "ok" else "bad"),
                Cell(f"{step['seconds']:.0f} s"),
                Cell(step["text"]),
            ],
        )
        for name, step in steps.items()
    ]
    return Section("Steps", tables=[Table(("step", "", "took", "what"), rows)])


def _tiles(found: dict[str, Any]) -> list[Tile]:
    tiles = [
        Tile(f"sm_{gpu['capability']}", f"{gpu['name']}, {gpu['memory'] >> 30} GiB")
        for gpu in found.get("gpus") or []
    ]
    tests = found.get("tests")
    if tests:
        text = f"tests passed, {tests['failed']} failed, {tests['skipped']} skipped"
        tiles.append(Tile(str(tests["passed"]), text, "bad" if tests["failed"] else "good"))
    return tiles


def main() -> None:
    """Writes the page of the folder on the command line."""
    try:
        write(Path(sys.argv[1]))
    except TvmkdError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
