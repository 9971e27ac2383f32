"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2\s*$", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    """A page as a test's id."""
    return str(path.relative_to(ROOT))


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Every fenced block of a language: ``page:line`` and its text."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[3].strip() == language:
                line = text.count("\n", 0, match.start()) + 1
                yield f"{name(path)}:{line}", match[4]


def prose(path: Path) -> str:
    """A page's text without its fenced blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))
