"""A room imports rooms below it only, and no two modules import each other."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import architecture
import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_every_module_is_in_a_room() -> None:
    strays = [name for name in architecture.modules() if architecture.room_of(name) is None]
    assert strays == []


def test_every_room_is_there() -> None:
    names = {name.split(".")[1] for name in architecture.modules() if "." in name}
    places = {place for room in architecture.ROOMS for place in room.places if place}
    assert places - names == set()


def test_no_import_points_up() -> None:
    up = [
        f"{name}:{line} imports {target}"
        for name, target, line in architecture.arrows()
        if _room(target) > _room(name)
    ]
    assert up == []


def test_no_modules_import_each_other() -> None:
    edges: dict[str, set[str]] = defaultdict(set)
    for name, target, _ in architecture.arrows():
        edges[name].add(target)
    assert architecture.circles(edges) == []


def test_no_rooms_import_each_other() -> None:
    edges: dict[str, set[str]] = defaultdict(set)
    for name, target, _ in architecture.arrows():
        first, second = (_place(module) for module in (name, target))
        if first != second:
            edges[first].add(second)
    assert architecture.circles(edges) == []


def test_no_module_is_longer_than_500_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for path in architecture.modules().values()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 500
    ]
    assert long == []


def test_contributing_shows_the_rooms() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert architecture.table() in text, f"CONTRIBUTING.md should have:\n{architecture.table()}"


def test_the_test_finds_lazy_relative_and_type_checking_imports(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from tvmkd.cli import main\n"
        "def f():\n    import tvmkd.api\n    from . import text\n    from ..targets import load\n"
    )
    known = {"tvmkd.base.text": path, "tvmkd.cli": path}
    found = architecture.imports("tvmkd.base.file", path, known)
    assert found == [
        ("tvmkd.cli", 3),
        ("tvmkd.api", 5),
        ("tvmkd.base.text", 6),
        ("tvmkd.targets", 7),
    ]


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}, [["b", "c"]]),
    ],
)
def test_circles(edges: dict[str, set[str]], found: list[list[str]]) -> None:
    assert architecture.circles(edges) == found


def _room(module: str) -> int:
    number = architecture.room_of(module)
    assert number is not None, module
    return number


def _place(module: str) -> str:
    return module.removeprefix("tvmkd").removeprefix(".").split(".")[0]
