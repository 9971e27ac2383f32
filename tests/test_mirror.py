"""A test mirrors every module: ``tvmkd/a/b.py`` is tested by ``tests/a/test_b.py``.

``without_mirror.txt`` lists the exceptions, one a line: the tests of their room cover them. The
list only gets shorter.
"""

from __future__ import annotations

import architecture

TESTS = architecture.ROOT / "tests"


def _without() -> set[str]:
    return set((TESTS / "without_mirror.txt").read_text(encoding="utf-8").splitlines())


def _missing() -> set[str]:
    found = set()
    for path in architecture.modules().values():
        inside = path.relative_to(architecture.ROOT / "tvmkd")
        mirror = TESTS / inside.with_name(f"test_{inside.name}")
        if not inside.name.startswith("__") and not mirror.exists():
            found.add(inside.as_posix())
    return found


def test_every_module_has_its_mirror_test() -> None:
    assert sorted(_missing() - _without()) == [], "write tests/…/test_NAME.py for each"


def test_the_list_of_exceptions_only_gets_shorter() -> None:
    stale = sorted(_without() - _missing())
    assert stale == [], "these have a test or are gone: take them off tests/without_mirror.txt"
