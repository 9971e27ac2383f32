from __future__ import annotations

import dataclasses

import pytest

from tvmkd.base.checks import GIB, Check


def test_a_finding_needs_no_fix() -> None:
    assert Check("disk", "ok", "20 GiB free").fix == ""
    full = Check("disk", "fail", "no space", "remove old runs")
    assert (full.name, full.status, full.finding, full.fix) == dataclasses.astuple(full)
    assert dataclasses.astuple(full) == ("disk", "fail", "no space", "remove old runs")


def test_a_finding_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Check("disk", "ok", "20 GiB free").status = "fail"  # type: ignore[misc]


def test_a_gibibyte_is_a_binary_unit() -> None:
    assert GIB == 1024**3
