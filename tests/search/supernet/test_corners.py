from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spaces

from tvmkd.base.errors import InputError
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.corners import Corners, find

BLOCKS = {"student": {"args": {"stem": 8, "blocks": [[8, 1], [16, 2], [16, 1]]}}}


def corners(space: dict[str, Any], search_in: Path | None = None, **sections: Any) -> Corners:
    made = spaces.make(space, search_in, **{**BLOCKS, **sections})
    return find(Blueprints(made.cfg, made))


def test_the_largest_has_most_weights_and_the_smallest_fewest() -> None:
    found = corners(
        {
            "width": {"low": 0.5, "high": 1.5},
            "depth": {"choices": [2.0, 0.5, 1.0], "per_stage": True},
            "kernel": [5, 3],
            "resolution": [8, 16],
        }
    )
    small = {"width": 0.5, "depth.0": 0.5, "depth.1": 0.5, "kernel": 3, "resolution": 8}
    assert found.smallest == small
    assert found.largest == {
        "width": 1.5,
        "depth.0": 2.0,
        "depth.1": 2.0,
        "kernel": 5,
        "resolution": 16,
    }
    # Width, kernel and resolution leave the blocks as they are; one block is the least.
    assert found.deepening == {"depth.0", "depth.1"}
    assert found.deepened(small) == {**found.largest, "depth.0": 0.5, "depth.1": 0.5}


def test_lists_are_ordered_by_what_they_build() -> None:
    tables = [[[16, 1], [24, 2]], [[8, 1], [8, 2]], [[16, 1], [16, 2]]]
    found = corners({"student.args.blocks": tables})
    assert found.largest == {"student.args.blocks": tables[0]}
    assert found.smallest == {"student.args.blocks": tables[1]}
    assert found.deepening == frozenset()


@pytest.mark.parametrize(
    ("space", "name"),
    [
        ({"model": ["depthwise", "residual"]}, "student.model"),
        ({"distill.lr": {"low": 0.1, "high": 0.2}}, "distill.lr"),
        ({"prune": [0.0, 0.5]}, "prune.ratio"),
    ],
)
def test_what_shares_no_weights_is_refused(space: dict[str, Any], name: str) -> None:
    first = next(iter(space))
    says = rf"^\[search.space\] {first}: .* differ in {name} have none .*; give method = \"study\""
    with pytest.raises(InputError, match=says):
        corners(space, student={})


NETS = """
from torch import nn

def fails_for_eight(width):
    if width > 6:
        raise ValueError("too wide")
    return nn.Sequential(nn.Flatten(), nn.Linear(256, width), nn.Linear(width, 10))
"""


def test_a_value_that_fails_is_no_end(tmp_path: Path) -> None:
    (tmp_path / "corner_nets.py").write_text(NETS, encoding="utf-8")
    own = {"student": {"model": "corner_nets:fails_for_eight"}}
    found = corners({"student.args.width": [4, 5, 6, 8]}, tmp_path, **own)
    assert found.largest == {"student.args.width": 6}
    assert found.smallest == {"student.args.width": 4}
    for values in ({"low": 1, "high": 40}, {"low": 1, "high": 9, "log": True}):
        found = corners({"student.args.width": values}, tmp_path, **own)
        assert found.smallest == {"student.args.width": 1}
        assert found.largest["student.args.width"] in (4, 5, 6)
    with pytest.raises(InputError, match="with width=9: ValueError: too wide"):
        corners({"student.args.width": [8, 9]}, tmp_path, **own)
