from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.distill import latency
from tvmkd.distill.latency import LatencyTerm, mega_macs


@pytest.fixture
def warnings(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(latency.console, "warn", said.append)
    return said


def test_a_number_adds_no_gradient_and_says_so_once(warnings):
    model = nn.Conv2d(1, 8, 3, bias=False)
    term = LatencyTerm(mega_macs((1, 1, 10, 10)), 2.0)
    assert term.loss(model) is None
    assert term.loss(model) is None
    assert len(warnings) == 1
    assert "only to choose" in warnings[0]
    assert term.penalty(model) == pytest.approx(2.0 * 8 * 9 * 64 / 1e6)


def test_a_tensor_that_does_not_come_from_the_weights_is_no_loss_either(warnings):
    unrelated = torch.ones((), requires_grad=True)
    assert LatencyTerm(lambda model: unrelated * 3, 1.0).loss(nn.Linear(2, 2)) is None
    assert len(warnings) == 1


def test_an_estimate_from_the_weights_pulls_on_them(warnings):
    model = nn.Linear(2, 2, bias=False)
    term = LatencyTerm(lambda model: model.weight.abs().sum(), 0.5)
    loss = term.loss(model)
    assert loss is not None
    loss.backward()
    torch.testing.assert_close(model.weight.grad, 0.5 * model.weight.sign())
    assert warnings == []


def test_weight_zero_is_silent(warnings):
    term = LatencyTerm(mega_macs((1, 1, 10, 10)), 0.0)
    assert term.loss(nn.Conv2d(1, 8, 3)) is None
    assert term.penalty(nn.Conv2d(1, 8, 3)) == 0.0
    assert warnings == []
