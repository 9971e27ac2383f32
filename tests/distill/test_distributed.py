from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from tvmkd.base.errors import UsageError
from tvmkd.distill import distributed
from tvmkd.distill.distributed import ALONE, Team, assemble


def test_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with assemble() as team:
        assert (team.rank, team.size, team.leader) == (0, 1, True)
        assert team.gather([3]) == [3]
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


class Other:
    """Stands for a second process: what it adds to each sum over both."""

    def __init__(self, monkeypatch, *values):
        self.values = [torch.tensor(value) for value in values]
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        monkeypatch.setattr(torch.distributed, "all_reduce", self)

    def __call__(self, tensor):
        tensor += self.values.pop(0).reshape(tensor.shape)


def test_gradients_are_averaged_with_a_value(monkeypatch):
    used, here_only, there_only, nowhere = (nn.Parameter(torch.zeros(1)) for _ in range(4))
    used.grad, here_only.grad = torch.tensor([2.0]), torch.tensor([4.0])
    Other(monkeypatch, [4.0, 0.0, 6.0, 0.0, 1.0, 0.0, 1.0, 0.0, 3.0])
    team = Team(0, 2, torch.device("cpu"))
    value = team.average_gradients([used, here_only, there_only, nowhere], torch.tensor(1.0))
    assert value.item() == 2.0
    assert [w.grad.item() for w in (used, here_only, there_only)] == [3.0, 2.0, 3.0]
    assert nowhere.grad is None


def test_alone_nothing_is_averaged():
    weight = nn.Parameter(torch.zeros(1))
    assert ALONE.average_gradients([weight], torch.tensor(5.0)).item() == 5.0
    assert weight.grad is None
    value = torch.tensor(3.0)
    assert distributed.average(value) is value


@pytest.mark.parametrize(
    ("mine", "other", "least", "found"), [(3.0, 5.0, 1.0, 4.0), (0.1, 0.2, 1.0, 0.5)]
)
def test_a_normaliser_is_half_of_what_both_count(monkeypatch, mine, other, least, found):
    Other(monkeypatch, other)
    assert distributed.normaliser(torch.tensor(mine), least).item() == pytest.approx(found)


def test_a_normaliser_alone_is_the_count():
    assert distributed.normaliser(torch.tensor(3.0)).item() == 3.0
    assert distributed.normaliser(torch.tensor(0.2)).item() == 1.0


def test_moments_are_of_both_processes(monkeypatch):
    """Values 0 and 2 here, 4 and 6 there: mean 3, variance 5 over 4 values."""
    Other(monkeypatch, 5.0, 5.0)
    mean, variance, count = distributed.moments(torch.tensor([[0.0], [2.0]]), [0])
    assert (mean.item(), variance.item(), count) == (3.0, 5.0, 4)


def test_batch_normalisation_of_one_process_is_torchs():
    torch.manual_seed(0)
    images = torch.randn(4, 3, 5, 5, requires_grad=True)
    twin = images.detach().clone().requires_grad_()
    norm, plain = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    weight = torch.randn(4, 3, 5, 5)
    for _ in range(2):
        found, wanted = distributed._normalise(norm, images), plain(twin)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        (found * weight).sum().backward()
        (wanted * weight).sum().backward()
    torch.testing.assert_close(images.grad, twin.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(norm.weight.grad, plain.weight.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.state_dict(), plain.state_dict())
    torch.testing.assert_close(distributed._normalise(norm.eval(), twin), plain.eval()(twin))


def test_networks_normalise_together_only_while_they_train_together():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    with Team(0, 2, torch.device("cpu")).synchronised(network):
        assert all("forward" in vars(norm) for norm in network)
    with ALONE.synchronised(network):
        assert not any("forward" in vars(norm) for norm in network)
    assert not any("forward" in vars(norm) for norm in network)


def test_a_second_team_of_a_process_shares_no_names_with_the_first(monkeypatch):
    """Else its processes would look for each other where the first ones have been."""
    met, stores = torch.distributed.HashStore(), []
    for name, value in (("WORLD_SIZE", 2), ("RANK", 1), ("MASTER_ADDR", "a"), ("MASTER_PORT", 1)):
        monkeypatch.setenv(name, str(value))
    meetings = [(met, 1, 2)]
    monkeypatch.setattr(distributed, "_meeting_point", functools.cache(meetings.pop))
    monkeypatch.setattr(distributed, "find_device", lambda: torch.device("cpu"))

    def start(backend, *, store, rank, world_size):
        assert (backend, rank, world_size) == ("gloo", 1, 2)
        stores.append(store)

    monkeypatch.setattr(torch.distributed, "init_process_group", start)
    for name in ("barrier", "destroy_process_group"):
        monkeypatch.setattr(torch.distributed, name, lambda: None)
    for _ in range(2):
        with assemble() as team:
            assert (team.rank, team.size) == (1, 2)
    first, second = stores
    first.set("address", "here")
    assert first.check(["address"])
    assert not second.check(["address"])


def test_the_rows_of_all_processes_have_gradients_for_their_own(monkeypatch):
    value = torch.tensor([[1.0, 2.0]], requires_grad=True)
    assert distributed.whole(value) is value
    # The other process adds its row to the zeros here, and its gradient for ours to our own.
    Other(monkeypatch, [[0.0, 0.0], [3.0, 4.0]], [[0.5, 0.0], [0.0, 0.0]])
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    rows = distributed.whole(value)
    assert rows.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    (rows * torch.tensor([[1.0, 10.0], [100.0, 100.0]])).sum().backward()
    assert value.grad.tolist() == [[1.5, 10.0]]


def test_the_leader_comes_first() -> None:
    happened: list[str] = []

    class Told(Team):
        def wait(self) -> None:
            happened.append("wait")

    for rank, order in ((0, ["made", "wait"]), (1, ["wait", "made"])):
        happened.clear()
        with Told(rank, 2, torch.device("cpu")).leader_first():
            happened.append("made")
        assert happened == order
