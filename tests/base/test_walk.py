from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tvmkd.base import walk


@pytest.mark.parametrize(
    "name", [".git", "._a.jpg", ".DS_Store", "Thumbs.db", "__MACOSX", "@eaDir", "desktop.ini"]
)
def test_hidden_names(name: str) -> None:
    assert walk.is_hidden(name)


@pytest.mark.parametrize("name", ["a.jpg", "_a.jpg", "cat", "thumbs"])
def test_visible_names(name: str) -> None:
    assert not walk.is_hidden(name)


def test_links_are_followed_once_and_cycles_end(tmp_path: Path) -> None:
    for name in ("data/cat/deep/a", "data/cat/b", "data/cat/.hidden/c", "data/dog/d", "more/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    cat = tmp_path / "data" / "cat"
    links = {"up": "..", "me": ".", "more": "../../more", "again": "../../more", "gone": "nowhere"}
    for name, target in links.items():
        (cat / name).symlink_to(target)
    left: list[tuple[str, str]] = []
    found = sorted(walk.files_below(cat, lambda reason, path: left.append((reason, path.name))))
    assert [path.relative_to(cat).as_posix() for path in found] in (
        ["again/e", "b", "deep/a"],
        ["b", "deep/a", "more/e"],
    )
    reasons = Counter(reason for reason, _ in left)
    assert reasons == {walk.HIDDEN: 1, walk.CYCLE: 3, walk.DANGLING: 1}
