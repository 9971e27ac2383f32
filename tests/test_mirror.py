"""A test mirrors every module: ``tvmkd/a/b.py`` is tested by ``tests/a/test_b.py``."""

from __future__ import annotations

import architecture

# Modules without a mirror test: a test of their room covers them. The list only gets shorter.
WITHOUT = """
LIST
""".split()


def _missing() -> list[str]:
    tests = architecture.ROOT / "tests"
    found = []
    for path in architecture.modules().values():
        inside = path.relative_to(architecture.ROOT / "tvmkd")
        mirror = tests / inside.with_name(f"test_{inside.name}")
        if not inside.name.startswith("__") and not mirror.exists():
            found.append(inside.as_posix())
    return sorted(found)


def test_every_module_has_its_mirror_test() -> None:
    new = sorted(set(_missing()) - set(WITHOUT))
    assert new == [], "write tests/…/test_NAME.py for each"


def test_the_list_of_exceptions_only_gets_shorter() -> None:
    assert sorted(set(WITHOUT) - set(_missing())) == [], "these have one now: take them off"
