from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.quantize import fake


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)
    )


IMAGES = torch.linspace(-1, 2, 3 * 16).view(3, 1, 4, 4)


def test_a_weight_has_129_levels_of_its_own_in_each_channel() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.003], [100.0, 0.3, -100.0]])
    found = fake.RoundedWeight()(weight)
    scale = torch.tensor([[1.0], [100.0]]) / 64
    torch.testing.assert_close(found, (weight / scale).round() * scale)
    assert found[0, 1] == pytest.approx(-0.5, abs=1 / 128)
    assert found[1, 1] == 0.0


def test_rounding_before_a_normalisation_is_folded_is_rounding_after() -> None:
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    factor = torch.tensor([[0.1], [3.0], [-2.0], [40.0]])
    rounded = fake.RoundedWeight()
    torch.testing.assert_close(rounded(weight) * factor, rounded(weight * factor))


def test_the_range_of_inputs_follows_what_is_trained_on_and_holds_zero() -> None:
    layer = fake.RoundedInput().train()
    layer(torch.tensor([1.0, 3.0]))
    assert (float(layer.low), float(layer.high)) == (0.0, 3.0)
    layer(torch.tensor([-1.0, 5.0]))
    assert float(layer.high) == pytest.approx(3.0 + fake.MOMENTUM * 2.0)
    assert float(layer.low) == pytest.approx(-fake.MOMENTUM)
    layer.eval()
    held = float(layer.high)
    out = layer(torch.tensor([0.0, 100.0]))
    assert float(layer.high) == held
    assert out[0] == 0.0
    assert float(out[1]) == pytest.approx(held, abs=held / 128)


def test_it_is_taken_off_without_a_trace_but_what_was_learnt() -> None:
    plain = network()
    keys, before = list(plain.state_dict()), plain[0].weight.detach().clone()
    detach = fake.attach(plain)
    assert not torch.equal(plain[0].weight, before), "rounded while it is on"
    plain(IMAGES).square().sum().backward()
    gradient = plain[0].parametrizations.weight.original.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    detach()
    assert set(plain.state_dict()) == set(keys)
    assert torch.equal(plain[0].weight, before)
    assert not plain[0]._forward_pre_hooks


def test_a_layer_that_is_kept_is_left_alone() -> None:
    plain = network()
    before = plain[0].weight.detach().clone()
    fake.attach(plain, ["0"])
    assert torch.equal(plain[0].weight, before)
    assert hasattr(plain[3], "rounded_input")


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match='keep_fp32: there is no layer "7"'):
        fake.attach(network(), ["7"])
