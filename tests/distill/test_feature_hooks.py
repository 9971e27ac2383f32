from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill.feature_hooks import Taps


def network() -> nn.Module:
    return nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 2))


def test_they_hold_what_the_module_gave_last() -> None:
    model = network()
    taps = Taps(model, ["0.1", "1"], "student")
    for _ in range(2):
        x = torch.randn(3, 4)
        y = model(x)
    torch.testing.assert_close(taps.outputs["0.1"], model[0](x))
    assert taps.outputs["1"] is y


def test_gradients_flow_through_them() -> None:
    model = network()
    taps = Taps(model, ["0"], "student")
    model(torch.randn(3, 4))
    taps.outputs["0"].sum().backward()
    assert model[0][0].weight.grad is not None
    assert model[1].weight.grad is None


def test_a_path_that_leads_nowhere_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r'teacher: there is no module "0.l" in it; did you mean'):
        Taps(network(), ["0.l"], "teacher")
    with pytest.raises(InputError, match=r'there is no module "" in it'):
        Taps(network(), [""], "teacher")


def test_the_first_of_several_outputs_counts_and_other_things_are_refused() -> None:
    lstm = nn.Sequential(nn.LSTM(4, 5, batch_first=True))
    taps = Taps(lstm, ["0"], "student")
    lstm(torch.randn(2, 3, 4))
    assert taps.outputs["0"].shape == (2, 3, 5)

    class Odd(nn.Module):
        def forward(self, x):
            return {"x": x}

    odd = nn.Sequential(Odd())
    Taps(odd, ["0"], "student")
    with pytest.raises(InputError, match='module "0" gives dict, not a tensor'):
        odd(torch.zeros(1))


def test_closing_takes_the_hooks_off() -> None:
    model = network()
    taps = Taps(model, ["1"], "student")
    taps.close()
    model(torch.randn(3, 4))
    assert taps.outputs == {}
