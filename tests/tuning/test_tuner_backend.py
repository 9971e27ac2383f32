from __future__ import annotations

import sys

import pytest

from tvmkd.base import stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.tuning import tuner_backend

FUNCTIONS = [name for name in vars(tuner_backend.TunerBackend) if not name.startswith("_")]


@pytest.mark.parametrize("stack", stack_registry.names())
def test_a_stacks_backend_has_every_function_and_loads_no_compiler(stack: str) -> None:
    before = set(sys.modules)
    backend = tuner_backend.of(stack)
    assert backend.__name__.startswith(f"tvmkd.stacks.{stack}.")  # type: ignore[attr-defined]
    for name in FUNCTIONS:
        assert callable(getattr(backend, name)), name
    assert [name for name in set(sys.modules) - before if name.split(".")[0] == "tvm"] == []


def test_an_unknown_stack_is_a_wrong_use() -> None:
    with pytest.raises(UsageError, match="relay2"):
        tuner_backend.of("relay2")
