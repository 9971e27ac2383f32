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
from tvmkd.models.attention import maker
from tvmkd.models.macs import macs
from tvmkd.models.mlp import MixerBlock
from tvmkd.models.mobilevit import MobileVitBlock
from tvmkd.stacks.client import StackClient

pytestmark = pytest.mark.usefixtures("warm_worker")

STUDENTS = ("depthwise", "bottleneck", "mobilevit", "mlp")
COLOURS = {"depthwise": 3, "bottleneck": 1, "mobilevit": 3, "mlp": 1}  # channels of the image
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


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Networks of half width and depth with their ONNX files, each exported once."""
    folder = tmp_path_factory.mktemp("students")
    made = {}

    def get(name):
        if name not in made:
            channels = COLOURS[name]
            model = student(name, channels, width=0.5, depth=0.5)
            shape = (1, channels, SIZE, SIZE)
            made[name] = model, export(model, folder / f"{name}.onnx", shape)
        return made[name]

    return get


@pytest.mark.parametrize("name", STUDENTS)
def test_the_exported_file_answers_the_same(name, exported):
    model, path = exported(name)
    images = torch.randn(1, COLOURS[name], SIZE, SIZE)
    with torch.no_grad():
        wanted = model(images).numpy()
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": images.numpy()})
    assert np.ptp(wanted) > 0.01, "a network that answers everything alike shows nothing"
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max(), rtol=1e-3)
    assert not DISLIKED & set(check(path).operators)


@pytest.mark.parametrize(
    "part",
    [
        MobileVitBlock(channels=8, features=8, layers=1, side=4),
        MixerBlock(tokens=16, features=8, token_hidden=8, feature_hidden=16),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_block_that_reshapes_has_a_free_batch(part, tmp_path):
    torch.manual_seed(0)
    shape = (8, 4, 4) if isinstance(part, MobileVitBlock) else (16, 8)
    path = export(part.eval(), tmp_path / "m.onnx", (1, *shape), dynamic_batch=True)
    values = torch.randn(3, *shape)
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": values.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, part(values).numpy(), atol=1e-4, rtol=1e-3)


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


@pytest.mark.parametrize("name", ["depthwise", "bottleneck", "mobilevit", "residual"])
def test_each_stage_may_have_its_own_values(name):
    kind = type(models.build(name))
    count = kind.stages()
    plain = models.build(name, width=1.5, kernel=5)
    alike = models.build(name, width=[1.5] * count, kernel=[5] * count)
    assert repr(plain) == repr(alike)
    last = models.build(name, width=[*[1.5] * (count - 1), 3.0], kernel=[*[5] * (count - 1), 7])
    kernels = [
        {m.kernel_size[0] for m in net.modules() if isinstance(m, nn.Conv2d)}
        for net in (plain, last)
    ]
    assert (5 in kernels[0], 7 in kernels[0], 7 in kernels[1]) == (True, False, True)
    assert last.head.in_features == 2 * plain.head.in_features
    assert last(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", ["bottleneck", "mobilevit", "mlp"])
def test_an_expansion_changes_what_is_within_blocks(name):
    thin, wide = (student(name, expansion=factor) for factor in (1, 6))
    shape = (1, 1, SIZE, SIZE)
    assert macs(thin, shape) < macs(wide, shape)
    assert thin.head.in_features == wide.head.in_features


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
@pytest.mark.parametrize("name", ["bottleneck", "mobilevit", "mlp"])
def test_the_relax_stack_builds_it_and_agrees_with_onnxruntime(name, exported, tmp_path):
    _, path = exported(name)
    with StackClient("relax") as stack:
        manifest = stack.build(path, targets.load("host").to_dict(), [], tmp_path / name)
    assert manifest["check"]["samples"] >= 4
    assert manifest["check"]["max_error"] < 1e-4


@pytest.mark.parametrize("kind", ["window", "linear", "topk"])
def test_no_kind_of_attention_computes_a_shape(kind, tmp_path):
    # A map of 5×5, which windows of 3 do not divide, and a free batch.
    layer = maker(kind, window=3)(8, 5)
    path = export(layer.eval(), tmp_path / "m.onnx", (2, 25, 8), dynamic_batch=True)
    assert not DISLIKED & set(check(path).operators)
