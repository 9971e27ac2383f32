from __future__ import annotations

from collections.abc import Iterator

import pytest

from tvmkd.boards.fleet import Fleet, running_fleet


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """A tracker and one board of this machine, for the tests that leave them alone."""
    with running_fleet(1, key="tests", threads=1) as running:
        yield running
