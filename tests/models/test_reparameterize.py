from __future__ import annotations

import warnings

import onnx
import pytest
import torch
from settled_norms import settled
from torch import nn

from tvmkd import models
from tvmkd.export import check, export
from tvmkd.models import branched
from tvmkd.models.reparameterize import fused, stays

SHAPE = (1, 2, 6, 6)


class Pair(nn.Module):
    """A user's own block of two branches, fused under any of the names."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)
        self.whole = None
        self.factor = factor

    def forward(self, x):
        return self.first(x) + self.second(x) if self.whole is None else self.whole(x)

    def made(self):
        whole = nn.Conv2d(2, 2, 3, padding=1)
        whole.weight.data = self.first.weight + nn.functional.pad(self.second.weight, [1] * 4)
        whole.bias.data = (self.first.bias + self.second.bias) * self.factor
        return whole


class Replaced(Pair):
    def fuse(self):
        return self.made()


class InPlace(Pair):
    def reparameterize(self):
        self.whole = self.made()  # a second call would fail: the branches are gone
        del self.first, self.second


class Deployed(InPlace):
    reparameterize = None

    def switch_to_deploy(self, verbose=False):
        InPlace.reparameterize(self)


class Broken(Pair):
    def fuse(self):
        raise ValueError("no statistics")


class Fewer(Pair):
    """Has a further output only while it has its branches."""

    def forward(self, x):
        return super().forward(x), x

    def fuse(self):
        return self.made()


class NotOne(Pair):
    """What is called like that, but is no method that fuses."""

    def __init__(self):
        super().__init__()
        self.reparameterize = nn.Identity()

    def fuse(self, other):
        raise AssertionError


def convolutions(network):
    return sum(isinstance(module, nn.Conv2d) for module in network.modules())


@pytest.mark.parametrize("kind", [Replaced, InPlace, Deployed])
@pytest.mark.parametrize("alone", [False, True])
def test_a_users_own_branches_are_fused(kind, alone):
    torch.manual_seed(0)
    network = kind() if alone else nn.Sequential(kind(), nn.ReLU(), nn.Sequential(kind()))
    network.train()
    found = fused(network, SHAPE)
    x = torch.randn(3, *SHAPE[1:])
    assert 2 * convolutions(found) == convolutions(network), "the given network stays as it is"
    torch.testing.assert_close(found(x), network(x))
    assert found.training
    assert {(w.dtype, w.requires_grad) for w in found.parameters()} == {(torch.float32, True)}
    assert fused(found, SHAPE) is found
    assert stays(network, SHAPE) is None


def test_frozen_layers_stay_frozen_and_no_random_number_is_drawn():
    network = nn.Sequential(nn.Conv2d(2, 2, 1).requires_grad_(False), Replaced())
    state = torch.get_rng_state()
    found = fused(network, SHAPE)
    assert torch.equal(torch.get_rng_state(), state)
    frozen = [name for name, weight in found.named_parameters() if not weight.requires_grad]
    assert frozen == ["0.weight", "0.bias"]
    assert len(list(found.parameters())) == 4


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Broken, "ValueError: no statistics"),
        (lambda: Replaced(2.0), "it would change the outputs by"),
        (Fewer, "it would change the outputs by"),
    ],
)
def test_what_cannot_be_fused_is_told_and_runs_as_it_is(kind, reason, capsys):
    network = nn.Sequential(kind())
    assert fused(network, SHAPE, "mine:net") is network
    said = capsys.readouterr().err
    assert said.startswith("warning: mine:net: not reparametrised")
    assert reason in " ".join(said.split())
    assert reason in stays(network, SHAPE)


def test_a_network_without_branches_is_itself():
    for network in (nn.Sequential(nn.Conv2d(2, 2, 1)), NotOne(), models.build("mobilevit", size=8)):
        assert fused(network, SHAPE) is network


def test_a_module_that_somebody_listens_to_is_still_heard():
    inner = nn.Sequential(InPlace(), Replaced())
    heard = []
    for module in inner:
        module.register_forward_hook(lambda *_: heard.append(1))
    fused(inner, SHAPE)(torch.zeros(SHAPE))
    heard.clear()
    found = fused(inner, SHAPE)
    heard.clear()
    found(torch.zeros(SHAPE))
    assert (len(heard), convolutions(found)) == (2, 2)


@pytest.mark.parametrize("name", ["repvit_m0_9", "fastvit_t8"])
def test_networks_of_timm(name):
    pytest.importorskip("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        network = settled(models.build(f"timm:{name}", num_classes=4, in_chans=1)).eval()
    found = fused(network, (1, 1, 16, 16))
    assert convolutions(found) < convolutions(network)
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        wanted = network(x)
        torch.testing.assert_close(found(x), wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)
    assert fused(found, (1, 1, 16, 16)) is found


def test_the_exported_file_holds_the_fused_network(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(InPlace(), nn.ReLU(), Replaced())
    operators = check(export(network, tmp_path / "m.onnx", SHAPE)).operators
    assert operators == {"Conv": 2, "Relu": 1}
    assert onnx.load(tmp_path / "m.onnx").graph.input[0].name == "input"


def test_our_own_branches_are_fused_first():
    network = settled(
        branched.add(models.build("depthwise", stem=8, blocks=[[8, 1]]), (1, 1, 8, 8), 2, 0)
    )
    found = fused(network, (1, 1, 8, 8))
    assert branched.present(network)
    assert not branched.present(found)
    assert convolutions(found) == 3
