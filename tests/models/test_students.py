"""What holds for every student: it scales, its channels are multiples, and it is exported."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from tvmkd import models, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.export import check, export
from tvmkd.models.macs import macs
from tvmkd.models.mlp import MixerBlock
from tvmkd.stacks.client import StackClient

pytestmark = pytest.mark.usefixtures("warm_worker")

STUDENTS = ("depthwise", "bottleneck", "mobilevit", "mlp")
SIZE = 28
# What computes shapes, depends on values, or has no fast path on small boards.
DISLIKED = {"Shape", "Size", "If", "Loop", "Range", "Expand", "ConstantOfShape", "NonZero"}
DISLIKED |= {"Attention", "Einsum", "Erf", "Gelu"}


def student(name, channels=1, **kwargs):
    """A network whose normalisations hold statistics of data, as after a training."""
    torch.manual_seed(0)
    known = models.arguments(name, classes=5, channels=channels, size=SIZE)
    model = models.build(name, **{**known, **kwargs})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches, from the first on
    with torch.no_grad():
        model(torch.randn(16, channels, SIZE, SIZE))
    return model.eval()


@pytest.mark.parametrize(
    ("width", "channels"),
    [
        (1.0, 1),
        (0.5, 3),
        pytest.param(0.5, 1, marks=pytest.mark.slow),
        pytest.param(1.0, 3, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", STUDENTS)
def test_the_exported_file_answers_the_same(name, width, channels, tmp_path):
    model = student(name, channels, width=width)
    images = torch.randn(1, channels, SIZE, SIZE)
    path = export(model, tmp_path / "m.onnx", images.shape)
    with torch.no_grad():
        wanted = model(images).numpy()
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": images.numpy()})
    assert np.ptp(wanted) > 0.01, "a network that answers everything alike shows nothing"
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max(), rtol=1e-3)
    assert not DISLIKED & set(check(path).operators)


@pytest.mark.parametrize("name", ["mobilevit", "mlp"])
def test_a_free_batch(name, tmp_path):
    model = student(name, width=0.5)
    path = export(model, tmp_path / "m.onnx", (1, 1, SIZE, SIZE), dynamic_batch=True)
    images = torch.randn(3, 1, SIZE, SIZE)
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(images).numpy(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("multiple", [4, 8, 16])
@pytest.mark.parametrize("width", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("name", STUDENTS)
def test_channels_are_multiples(name, width, multiple):
    model = models.build(name, classes=5, width=width, multiple=multiple)
    # How many tokens there are follows from the image.
    mixers = [block.token_mix[-1] for block in model.modules() if isinstance(block, MixerBlock)]
    counts = {
        module.out_channels if isinstance(module, nn.Conv2d) else module.out_features
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module not in [model.head, *mixers]
    }
    assert counts
    assert not [count for count in counts if count % multiple]


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("multiplier", ["width", "depth"])
def test_multipliers_make_it_cheaper(name, multiplier):
    shape = (1, 1, SIZE, SIZE)
    costs = [macs(student(name, **{multiplier: value}), shape) for value in (0.5, 1.0, 2.0)]
    assert costs == sorted(set(costs))


@pytest.mark.parametrize("name", STUDENTS)
def test_gradients_reach_every_weight(name):
    model = student(name).train()
    model(torch.randn(4, 1, SIZE, SIZE)).square().sum().backward()
    assert not [key for key, weight in model.named_parameters() if weight.grad is None]


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize(
    ("kwargs", "kind", "message"),
    [
        ({"width": 0}, UsageError, "width = 0: wants a number above 0"),
        ({"depth": -1}, UsageError, "depth = -1: wants a number above 0"),
        ({"multiple": 2.5}, UsageError, "multiple = 2.5: wants a whole number"),
        ({"wdith": 1.0}, InputError, "wdith"),
    ],
)
def test_a_bad_argument_is_one_line(name, kwargs, kind, message):
    with pytest.raises(kind, match=message) as caught:
        models.build(name, **kwargs)
    assert str(caught.value).startswith(f'model "{name}"')
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_relax_stack_builds_them_and_agrees_with_onnxruntime(tmp_path):
    with StackClient("relax") as stack:
        for name in ("bottleneck", "mobilevit", "mlp"):
            path = export(student(name), tmp_path / f"{name}.onnx", (1, 1, SIZE, SIZE))
            manifest = stack.build(path, targets.load("host").to_dict(), [], tmp_path / name)
            assert manifest["check"]["samples"] == 3
            assert manifest["check"]["max_error"] < 1e-4, name
