from __future__ import annotations

import math
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.search.latency.drift import Reading, Slowdown
from tvmkd.search.latency.folder import (
    KERNELS,
    NETWORKS,
    REFERENCE,
    Folder,
    TimedNetwork,
    TrialFacts,
    by_structure,
    open_folder,
)
from tvmkd.search.latency.prediction import Kernel
from tvmkd.tuning import records
from tvmkd.tuning.canary import FACT

KERNEL = Kernel("0x1", "conv", "conv2d", 2, 1e6, {"work": 3.0})


def network(seconds: float, fixed: float = 0.0) -> TimedNetwork:
    return TimedNetwork("s", {"0x1": 2}, {"0x1": (1e-6, 0.0)}, seconds, fixed=fixed, board="b:1")


def test_what_is_added_is_read_again(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    folder.add_kernels([KERNEL, KERNEL])
    folder.add_network(network(1.0))
    folder.add_reading(Reading(1.0, 2.0, "b:1"))
    again = open_folder(tmp_path / "new")
    assert again.kernels == {"0x1": KERNEL}
    assert len((tmp_path / "new" / KERNELS).read_text().splitlines()) == 1
    assert again.readings == folder.readings
    assert again.networks[0].seconds == 1.0
    assert list(by_structure(again.networks)) == ["s"]


def test_what_slowed_a_network_down_is_known_better_later(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    timed = network(3.0, fixed=2.0)
    assert folder.slowdown(timed) == Slowdown()
    for seconds in (1.0, 1.0, 2.0):
        folder.add_reading(Reading(timed.t, seconds, "b:9"))
    assert folder.slowdown(timed) == Slowdown(lasting=1.0, passing=2.0)
    for _ in range(4):  # it was no moment
        folder.add_reading(Reading(timed.t, 2.0, "b:9"))
    for later in (5000.0, 5001.0, 5002.0):
        folder.add_reading(Reading(timed.t + later, 1.0, "b:9"))
    assert folder.slowdown(timed) == Slowdown(lasting=2.0, passing=1.0)
    assert folder.slowdown(network(3.0)) == Slowdown()


def test_a_trial_beside_a_slow_canary_is_in_doubt(tmp_path: Path) -> None:
    common = {"t": 5.0, "board": "b:1"}
    for task, more in (("0x1", {}), ("0x2", {FACT: 8e-6}), ("0x3", {FACT: 32e-6})):
        records.append_line(tmp_path / records.TRIALS, {"task": task, "key": "c", **common, **more})
    facts = open_folder(tmp_path).trial_facts()
    one, two, three = (facts[records.normal_key(task), "c"] for task in ("0x1", "0x2", "0x3"))
    assert one == two == TrialFacts(5.0, "b:1")
    # It took between its time and four times that: twice, give or take a factor of two.
    assert three.slower == pytest.approx(2.0)
    assert three.doubt == pytest.approx(math.log(2.0))


def test_damaged_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / NETWORKS).write_text("{}\n")
    with pytest.raises(InputError, match=r"networks\.jsonl: \{\}… is no line of this file"):
        open_folder(tmp_path)
    (tmp_path / NETWORKS).write_text('{"a\n{}\n')
    with pytest.raises(InputError, match="line 1 is damaged"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (KERNELS, '{"key": "k", "name": "c", "kind": "conv2d", "calls": 1, "flop": 1.0}'),
        (KERNELS, '{"key": "0x1", "name": "c", "kind": "d", "calls": 1, "flop": 1, "features": 7}'),
        (NETWORKS, '{"structure": "s", "calls": {"0x1": 1}, "times": {}, "seconds": 1.0}'),
        (NETWORKS, '{"structure": "s", "calls": {}, "times": {}, "seconds": 0.0}'),
        (NETWORKS, '{"structure": "s", "calls": {}, "times": {}, "seconds": NaN}'),
        (REFERENCE, '{"t": 1.0, "seconds": null}'),
        (REFERENCE, "[1, 2]"),
    ],
)
def test_lines_that_cannot_be_reckoned_with_are_named(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / name).write_text(line + "\n")
    with pytest.raises(InputError, match=rf"{name}: .*… is no line of this file; remove it"):
        open_folder(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="table: cannot be written"):
        Folder(tmp_path / "file" / "table").add_reading(Reading(1.0, 2.0))
