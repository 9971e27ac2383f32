from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import stand_ins

from tvmkd.search.study import rungs
from tvmkd.search.study.bench import Bench
from tvmkd.search.study.opening import open_bench


@pytest.fixture
def events() -> list[tuple[str, dict[str, Any]]]:
    """What `bench` has told."""
    return []


@pytest.fixture
def bench(
    tmp_path: Path, events: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Bench]]:
    """Opens the toy study: ``bench(trials=8)`` with some keys of ``[search]`` changed."""
    monkeypatch.setattr(rungs, "LEAST_STEPS", 1)  # an epoch of the toy has a few
    with ExitStack() as stack:

        def make(training: str = "stand_ins:Waiting", **search: Any) -> Bench:
            cfg = stand_ins.toy(search={**stand_ins.SECTIONS["search"], **search})
            plan = stand_ins.plan(tmp_path / "search", cfg, training=training)
            made = open_bench(plan, lambda name, data: events.append((name, data)))
            stack.callback(made.close)
            return made

        yield make
