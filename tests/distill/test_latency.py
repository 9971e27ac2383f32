from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.base.errors import InputError
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


def test_a_users_model_gives_one_finite_number_or_one_line(tmp_path):
    (tmp_path / "own_latencies.py").write_text(
        "import torch\n"
        "def pulls(model):\n    return model.weight.abs().sum().reshape(1, 1)\n"
        "def counts(model):\n    return 3\n"
        "def many(model):\n    return model.weight\n"
        "def endless(model):\n    return float('inf')\n"
        "def numpys(model):\n    import numpy\n    return numpy.float32(3)\n"
        "def fails(model):\n    return model.no_such_layer\n"
    )

    def load(name):
        return latency.load(f"own_latencies:{name}", (1, 2), [tmp_path])

    model = nn.Linear(2, 2, bias=False)
    loss = LatencyTerm(load("pulls"), 0.5).loss(model)
    torch.testing.assert_close(loss, 0.5 * model.weight.abs().sum())
    assert load("counts")(model) == load("numpys")(model) == 3
    for name, message in (
        ("many", "must return one number"),
        ("endless", "returned inf; a latency is finite"),
        ("fails", r"no_such_layer.*own_latencies.py:14"),
    ):
        with pytest.raises(InputError, match=message):
            load(name)(model)
    with pytest.raises(InputError, match="has no nothing"):
        load("nothing")
    assert latency.load("macs", (1, 2))(model) == mega_macs((1, 2))(model)
