"""What the documentation names is there: pages, sections, files, modules."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import docs_pages as pages
import pytest

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:tvmkd|targets|schedules|benchmarks|tests|docs|scripts)/[a-z0-9_./-]*)`")


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower().replace(" ", "-")
    return re.sub(r"[^\w\-]", "", text)


def anchors(path: Path) -> set[str]:
    return {slug(m[1]) for m in re.finditer(r"(?m)^#+ (.+)$", pages.prose(path))}


def broken(path: Path) -> list[str]:
    """The links of a page that lead nowhere; those to the network are not followed."""
    found = []
    for match in LINK.finditer(pages.prose(path)):
        link = match[1] or match[2]
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file) if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", pages.PAGES, ids=pages.name)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken(path) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page: its title\n[a](#a-page-its-title) [b](gone.md) [c](page.md#gone) ![d](no.png)"
        " [e](https://example.org)\n"
    )
    assert broken(page) == ["gone.md", "page.md#gone", "no.png"]


@pytest.mark.parametrize("path", pages.PAGES, ids=pages.name)
def test_files_are_there(path: Path) -> None:
    named = FILE.findall(path.read_text(encoding="utf-8"))
    assert [name for name in named if not (pages.ROOT / name).exists()] == []


def exists(name: str) -> bool:
    """Whether a dotted name below ``tvmkd`` is a module, or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = pages.ROOT.joinpath("tvmkd", *parts[:count])
        if place.is_dir() or place.with_suffix(".py").is_file():
            break
    else:
        return False
    if count == len(parts):
        return True
    value: object = importlib.import_module(".".join(["tvmkd", *parts[:count]]))
    for part in parts[count:]:
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def test_the_tour_names_modules_that_are_there() -> None:
    text = (pages.ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    names = {
        name
        for name in re.findall(r"`([a-z_]+\.[A-Za-z_.]+)`", text)
        if not name.startswith("tvmkd.") and not name.endswith((".json", ".toml", ".md"))
    }
    assert len(names) > 40
    assert sorted(name for name in names if not exists(name.removesuffix(".py"))) == []


def test_every_package_is_in_the_tour() -> None:
    text = (pages.ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (pages.ROOT / "tvmkd").glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if not re.search(rf"`{room}[/.]", text)] == []
