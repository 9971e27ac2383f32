from __future__ import annotations

import dataclasses
from pathlib import Path

from tvmkd.search.watch import entries
from tvmkd.search.watch.entries import Entry

ENTRY = Entry(
    training="distilled-0",
    identity="now",
    epoch=3,
    shaping=False,
    structure="abc",
    p50=1.0,
    p95=1.5,
    p99=2.0,
    runs=100,
    board=None,
    budget=8.0,
    score=0.9,
    metric="accuracy",
    tasks=5,
    tuned=4,
    t=1.5,
)


def test_only_the_median_is_held_against_the_budget() -> None:
    assert not ENTRY.over
    assert not dataclasses.replace(ENTRY, p99=100.0, p50=8.0).over
    assert dataclasses.replace(ENTRY, p50=8.01).over


def test_what_is_written_is_read_in_order(tmp_path: Path) -> None:
    assert entries.read(tmp_path) == []
    later = dataclasses.replace(ENTRY, epoch=4)
    for entry in (ENTRY, later):
        entries.append(tmp_path, entry)
    assert entries.read(tmp_path) == [ENTRY, later]


def test_an_earlier_configuration_s_measurements_are_left_out(tmp_path: Path) -> None:
    entries.append(tmp_path, dataclasses.replace(ENTRY, identity="before"))
    entries.append(tmp_path, ENTRY)
    assert entries.read(tmp_path, {"now"}) == [ENTRY]


def test_of_two_measurements_of_an_epoch_the_later_one_counts(tmp_path: Path) -> None:
    other, again = dataclasses.replace(ENTRY, epoch=2), dataclasses.replace(ENTRY, p50=1.1)
    shaping = dataclasses.replace(ENTRY, shaping=True)
    for entry in (ENTRY, other, again, shaping):
        entries.append(tmp_path, entry)
    assert entries.read(tmp_path) == [other, again, shaping]


def test_a_line_that_was_cut_off_costs_nothing_else(tmp_path: Path) -> None:
    entries.append(tmp_path, ENTRY)
    with (tmp_path / entries.FILE).open("a") as file:
        file.write('{"training": "dis')  # killed here
    assert entries.read(tmp_path) == [ENTRY]
    later = dataclasses.replace(ENTRY, epoch=4)
    entries.append(tmp_path, later)
    assert entries.read(tmp_path) == [ENTRY, later]
