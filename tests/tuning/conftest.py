from __future__ import annotations

from collections.abc import Iterator

import pytest
import relay_stack
from grounds import Ground

from tvmkd.base import stack_registry
from tvmkd.boards.fleet import running_fleet
from tvmkd.runtime import interpreters


@pytest.fixture(scope="session", params=stack_registry.names())
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Each stack in turn: what a tuning run guarantees does not depend on it."""
    stack = request.param
    with pytest.MonkeyPatch.context() as patch:
        if stack == "relay":
            patch.setenv("TVMKD_RELAY_PYTHON", relay_stack.relay_python())
        runs = interpreters.find(stack)
        with running_fleet(1, key=f"tests-{stack}", threads=1, runs=runs) as running:
            yield Ground(stack, running, runs)
