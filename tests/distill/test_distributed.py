from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.base.errors import UsageError
from tvmkd.distill.distributed import Team, assemble


def test_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with assemble() as team:
        assert (team.rank, team.size, team.leader) == (0, 1, True)
        model = nn.Linear(1, 1)
        assert team.wrap(model) is model
        assert team.total([1.5, 2.0]) == [1.5, 2.0]
        team.wait()
    assert not torch.distributed.is_initialized()


def test_half_of_torchruns_environment(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(UsageError, match="MASTER_ADDR, MASTER_PORT not set: use torchrun"),
        assemble(),
    ):
        pass


def test_only_the_first_leads():
    assert not Team(1, 2, torch.device("cpu")).leader
