from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spaces

from tvmkd.base.errors import InputError
from tvmkd.search.supernet import corners
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.nesting import check_nesting

NETS = """
from torch import nn

class Odd(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.odd = nn.Linear(256, width)
        self.head = nn.Linear(width, 10)
    def forward(self, x):
        return self.head(self.odd(x.flatten(1)))

class Even(Odd):
    def __init__(self, width):
        super().__init__(width)
        self.more = nn.Linear(10, 10)

def few(width, depth=1):
    return (Odd if width == 5 else Even)(width)

def most(width, depth=1):
    return (Odd if width not in (4, 9) else Even)(width)

def smallest(width, depth=1):
    return (Odd if width < 9 else Even)(width)
"""


def check(folder: Path, name: str) -> str | None:
    (folder / "nesting_nets.py").write_text(NETS, encoding="utf-8")
    model: dict[str, Any] = {"model": f"nesting_nets:{name}"}
    space = {"student.args.width": [4, 5, 6, 7, 8, 9]}
    made = spaces.make(space, folder, student=model)
    blueprints = Blueprints(made.cfg, made)
    return check_nesting(blueprints, corners.find(blueprints), 0)


def test_networks_that_nest() -> None:
    made = spaces.make({"width": [0.5, 1.0], "depth": [1, 2]})
    blueprints = Blueprints(made.cfg, made)
    assert check_nesting(blueprints, corners.find(blueprints), 0) is None


def test_few_are_left_out_most_are_refused(tmp_path: Path) -> None:
    found = check(tmp_path, "few")
    assert found is not None
    assert "of 13 networks are left out, the first because student.args.width=5: is no" in found
    with pytest.raises(InputError, match=r"most networks .*; student.args.width=\d: is no part"):
        check(tmp_path, "most")
    with pytest.raises(InputError, match=r"^student.args.width=4: is no part of the largest"):
        check(tmp_path, "smallest")
