from __future__ import annotations

import copy

import pytest
import settled_norms
import torch
from torch import nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.models import branched
from tvmkd.models.branched import BranchedConv
from tvmkd.models.early_exit import EarlyExitNet
from tvmkd.models.reparameterize import stays

SHAPE = (1, 1, 16, 16)


def settled(network):
    """With statistics as after a training, in float64."""
    return settled_norms.settled(network).double().eval()


def parts(network, path):
    """How many convolutions stand for one, and whether the input itself is added."""
    found = network.get_submodule(path)
    return len(found.convs), found.identity is not None


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["depthwise", "bottleneck", "mobilevit", "residual"])
def test_a_student_is_fused_exactly_into_its_plain_self(name, count):
    torch.manual_seed(0)
    args = {"width": 0.5, **({"depth": 1} if name == "residual" else {"depth": 0.5})}
    known = models.arguments(name, 5, 1, size=16)
    plain = models.build(name, **known, **args).double().eval()
    network = settled(branched.add(copy.deepcopy(plain).float(), SHAPE, count, 0))
    assert branched.present(network)
    x = torch.randn(4, *SHAPE[1:], dtype=torch.float64)
    state = branched.plain_state(network)
    assert list(state) == list(plain.state_dict())
    plain.load_state_dict(state)
    with torch.no_grad():
        wanted = network(x)
        torch.testing.assert_close(plain(x), wanted, atol=1e-11 * float(wanted.abs().max()), rtol=0)
        branched.merge(network)
        assert not branched.present(network)
        torch.testing.assert_close(network(x), plain(x), atol=0, rtol=0)


def test_which_branches_a_convolution_gets():
    network = branched.add(models.build("depthwise", stem=8, blocks=[[8, 1], [16, 2]]), SHAPE, 2, 0)
    assert parts(network, "features.0") == (3, False)  # the stem halves: no identity
    assert parts(network, "features.3.0") == (3, True)  # depthwise 3×3
    assert parts(network, "features.3.3") == (2, True)  # pointwise: no other 1×1
    assert parts(network, "features.4.3") == (2, False)  # to more channels
    one = branched.add(models.build("depthwise", stem=8, blocks=[[8, 1], [16, 2]]), SHAPE, 1, 0)
    # A pointwise convolution to more channels would be the only branch of itself.
    assert isinstance(one.get_submodule("features.4.3"), nn.Conv2d)


@pytest.mark.parametrize(
    ("conv", "wanted"),
    [
        (nn.Conv2d(4, 4, 3, padding=1, bias=False), (3, True)),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), (3, True)),
        (nn.Conv2d(4, 4, 5, padding=4, dilation=2), (3, True)),
        (nn.Conv2d(4, 4, (3, 1), padding=(1, 0), bias=False), (3, True)),
        (nn.Conv2d(4, 8, 3, 2, padding=1), (3, False)),
        # The middle of these kernels is not where a 1×1 convolution looks.
        (nn.Conv2d(4, 4, 3), (2, False)),
        (nn.Conv2d(4, 4, 2, 2), (2, False)),
        (nn.Conv2d(4, 4, 3, padding="same"), (2, False)),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), (2, False)),
    ],
)
def test_any_convolution(conv, wanted):
    torch.manual_seed(0)
    network = nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))
    settled(branched.add(network, (1, 4, 8, 8), 2, 0))
    assert parts(network, "0") == wanted
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        before = network(x)
        torch.testing.assert_close(branched.merge(network)(x), before, atol=1e-12, rtol=1e-12)
    assert network[0] is conv


class Odd(nn.Module):
    """One convolution twice, one whose output is no map, a frozen one, and a good one."""

    def __init__(self):
        super().__init__()
        self.twice, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.pooled, self.after = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.frozen, self.still = nn.Conv2d(2, 2, 1).requires_grad_(False), nn.BatchNorm2d(2)
        self.good, self.last = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x):
        x = self.norm(self.twice(self.norm(self.twice(x))))
        x = x + self.after(self.pooled(x.mean((2, 3), keepdim=True)))
        return self.last(self.good(self.still(self.frozen(x))))


def test_only_what_is_safe_gets_branches():
    network = branched.add(Odd(), (1, 2, 4, 4), 2, 0)
    found = [path for path, m in network.named_modules() if isinstance(m, BranchedConv)]
    assert found == ["good"]


def test_a_network_without_normalised_convolutions_is_refused():
    with pytest.raises(InputError, match="reparam = 2: MixerNet has no convolution that a batch"):
        branched.add(models.build("mlp"), (1, 1, 32, 32), 2, 0)


def test_the_seed_gives_the_new_weights_and_nothing_else_is_drawn():
    def made(seed):
        torch.manual_seed(0)
        network = branched.add(models.build("depthwise", stem=8, blocks=[[8, 1]]), SHAPE, 2, seed)
        return network.state_dict(), torch.rand(1)

    (first, drawn), (same, again), (other, _) = made(1), made(1), made(2)
    torch.testing.assert_close(first, same, atol=0, rtol=0)
    name = "features.0.convs.{}.weight"
    assert torch.equal(first[name.format(0)], other[name.format(0)])
    assert not torch.equal(first[name.format(1)], other[name.format(1)])
    assert not torch.equal(first[name.format(1)], first[name.format(0)])
    assert torch.equal(drawn, again)


def test_a_student_with_exits_has_its_trunk_branched():
    torch.manual_seed(0)
    args = {"stem": 8, "blocks": [[8, 1], [8, 1]]}
    network = EarlyExitNet("depthwise", args, ["features.3"], 10, SHAPE)
    settled(branched.add(network, SHAPE, 2, 0))
    assert {path.partition(".")[0] for path in network.state_dict()} == {"base", "branches"}
    x = torch.randn(2, *SHAPE[1:], dtype=torch.float64)
    with torch.no_grad():
        last, early = network(x), network.branch_logits[0]
        torch.testing.assert_close(branched.merge(network)(x), last, atol=1e-11, rtol=0)
        torch.testing.assert_close(network.branch_logits[0], early, atol=1e-11, rtol=0)


def test_a_state_is_taken_while_the_network_holds_outputs_with_gradients():
    torch.manual_seed(0)
    args = {"stem": 8, "blocks": [[8, 1], [8, 1]]}
    network = EarlyExitNet("depthwise", args, ["features.3"], 10, SHAPE)
    settled(branched.add(network, SHAPE, 2, 0)).train()
    network(torch.randn(2, *SHAPE[1:], dtype=torch.float64))
    state = branched.plain_state(network)
    assert branched.present(network)
    assert not any(tensor.requires_grad for tensor in state.values())
    torch.testing.assert_close(branched.merge(network).state_dict(), state, atol=0, rtol=0)


class Shared(nn.Module):
    """Another module reads the output of one convolution, or has its weights."""

    def __init__(self, tied):
        super().__init__()
        self.tied = tied
        self.first, self.norm = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        self.second, self.last = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x):
        x = self.first(x)
        return self.last(self.second(self.norm(x))) + (0 if self.tied else x)


@pytest.mark.parametrize("tied", [False, True])
def test_disturbed_branches_show_what_cannot_be_fused(tied):
    network = branched.add(Shared(tied), (1, 2, 4, 4), 2, 0)
    assert "it would change the outputs" in stays(branched.disturbed(network), (1, 2, 4, 4))
    good = branched.add(models.build("depthwise", stem=8, blocks=[[8, 1]]), SHAPE, 2, 0)
    assert stays(branched.disturbed(good), SHAPE) is None
