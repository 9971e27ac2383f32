"""The kernels of structures, by the way in which their latency is predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stand_ins

from tvmkd.base.errors import UsageError
from tvmkd.search.joint.lowering import kernels
from tvmkd.search.study.bench import Bench
from tvmkd.search.study.opening import open_bench


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    sections: dict[str, Any] = getattr(request, "param", {})
    made = open_bench(stand_ins.plan(tmp_path, stand_ins.toy(**sections)), lambda *event: None)
    yield made
    made.close()


def test_the_kernels_are_those_that_a_prediction_adds_up(bench: Bench) -> None:
    structure = {"width": 2.0, "distill.lr": 1e-3}
    found = kernels(bench, structure)
    assert len(found) == 1
    assert bench.latency.predict(found) == bench.predict(structure)
    assert kernels(bench, {**structure, "width": 4.0}) != found


@pytest.mark.parametrize("bench", [{"early_exit": {"exits": ["features.3"]}}], indirect=True)
def test_exits_are_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="leave exits and"):
        kernels(bench, {"width": 2.0, "distill.lr": 1e-3})
