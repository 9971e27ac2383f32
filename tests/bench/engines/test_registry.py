from __future__ import annotations

import importlib

import pytest

from tvmkd.bench import engines
from tvmkd.bench.engines.base import Engine
from tvmkd.bench.spec import EngineSpec
from tvmkd.errors import UsageError


@pytest.mark.parametrize("kind", engines.KINDS)
def test_every_kind_is_an_engine(kind: str) -> None:
    module, _, name = engines.check_kind(kind).partition(":")
    assert issubclass(getattr(importlib.import_module(module), name), Engine)


def test_engines_of_your_own() -> None:
    made = engines.create(EngineSpec("a", "bench.engines_for_tests:Matmul"), threads=1)
    assert type(made).__name__ == "Matmul"


@pytest.mark.parametrize("kind", ["caffe", "no.such.module:Class", "bench.engines_for_tests:None_"])
def test_unknown_kinds(kind: str) -> None:
    with pytest.raises(UsageError):
        engines.create(EngineSpec("a", kind), threads=1)
