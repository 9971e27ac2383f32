from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from small import small
from torch import nn

from tvmkd import data
from tvmkd.base.errors import InputError
from tvmkd.distill.probe import logits_of, probe
from tvmkd.models.depthwise import DepthwiseNet


@pytest.fixture(scope="module")
def splits():
    return data.load(small().data)


def test_a_model_that_fits_passes_and_keeps_its_mode(splits):
    model = DepthwiseNet(stem=8, blocks=[(8, 1)]).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probe(model, splits, "student")
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_wrong_number_of_classes(splits):
    with pytest.raises(InputError, match=r'student "x".*\[1, 7\].*10 classes'):
        probe(DepthwiseNet(classes=7, stem=8, blocks=[(8, 1)]), splits, 'student "x"')


def test_wrong_number_of_channels(splits):
    with pytest.raises(
        InputError, match=r"cannot take an image of shape \[1, 1, 8, 8\].*3 channels"
    ):
        probe(DepthwiseNet(channels=3, stem=8, blocks=[(8, 1)]), splits, "student")


def test_no_weights(splits):
    with pytest.raises(InputError, match="has no weights"):
        probe(nn.Flatten(), splits, "student")


def test_where_logits_are_found():
    logits = torch.zeros(1, 2)
    assert logits_of(logits) is logits
    assert logits_of((logits, 3)) is logits
    assert logits_of(SimpleNamespace(logits=logits)) is logits
    with pytest.raises(InputError, match="returned dict"):
        logits_of({"a": logits})
