"""A test mirrors every module: ``tvmkd/a/b.py`` is tested by ``tests/a/test_b.py``."""

from __future__ import annotations

import architecture

TESTS = architecture.ROOT / "tests"


def test_every_module_has_its_mirror_test() -> None:
    missing = []
    for path in architecture.modules().values():
        inside = path.relative_to(architecture.ROOT / "tvmkd")
        mirror = TESTS / inside.with_name(f"test_{inside.name}")
        if not inside.name.startswith("__") and not mirror.exists():
            missing.append(mirror.relative_to(TESTS.parent).as_posix())
    assert sorted(missing) == [], "write these tests"
