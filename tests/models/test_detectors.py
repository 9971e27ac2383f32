from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models import detection

from tvmkd import models
from tvmkd.base.errors import InputError, UsageError
from tvmkd.models.detectors import Dense, retinanet, ssdlite


def targets() -> list[dict[str, Any]]:
    """Two objects in one image, none in the other."""
    boxes = torch.tensor([[8.0, 10.0, 30.0, 44.0], [40.0, 36.0, 60.0, 60.0]])
    return [
        {"boxes": boxes, "labels": torch.tensor([1, 3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]


def theirs(name: str, classes: int, size: int) -> Any:
    kwargs = {} if name.startswith("ssdlite") else {"min_size": size, "max_size": size}
    make = getattr(detection, name)
    return make(weights=None, weights_backbone=None, num_classes=classes + 1, **kwargs)


PAIRS = [
    ("retinanet_resnet50_fpn", {"version": 1}, 64),
    ("retinanet_resnet50_fpn_v2", {}, 64),
    ("ssdlite320_mobilenet_v3_large", {"backbone": "large"}, 320),
]


@pytest.mark.parametrize(("name", "args", "size"), PAIRS)
def test_torchvisions_weights_fit_and_its_loss_is_ours(
    name: str, args: dict[str, Any], size: int
) -> None:
    torch.manual_seed(0)
    other = theirs(name, 3, size)
    make = ssdlite if "ssd" in name else retinanet
    mine = make(3, size, **args)
    mine.load_state_dict(other.state_dict())
    images, wanted = torch.rand(2, 3, size, size), targets()
    # Normalisation by batches would move both, in turn, in the same way; as it is, it is the same.
    for network in (mine, other):
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
    own = mine.loss(mine.raw(images), wanted)  # type: ignore[arg-type]
    theirs_ = sum(other(list(images), wanted).values())
    assert own.item() == pytest.approx(theirs_.item(), rel=1e-4)


def test_what_means_nothing_is_not_among_the_outputs() -> None:
    logits, offsets = retinanet(3, 64).eval()(torch.rand(2, 3, 64, 64))
    found = retinanet(3, 64)
    assert logits.shape == (2, len(found.anchors), 3)
    assert offsets.shape == (2, len(found.anchors), 4)
    description = found.describe(["a", "b", "c"])
    assert (description.outputs, description.activation) == (3, "sigmoid")


@pytest.mark.parametrize(
    ("finest", "extras", "maps"), [(16, 4, 6), (8, 4, 7), (8, 1, 4), (16, 0, 2)]
)
def test_ssdlite_looks_at_as_many_maps_as_it_is_told(finest: int, extras: int, maps: int) -> None:
    network = ssdlite(2, 96, finest=finest, extras=extras).eval()
    features = network.look(network.blank)
    assert len(features) == maps
    assert features[0].shape[-1] == 96 // finest
    assert network.anchors.shape == (sum(6 * f.shape[-1] ** 2 for f in features), 4)


def test_a_pyramid_has_its_channels_at_every_stride_of_the_backbone() -> None:
    network = ssdlite(2, 96, finest=8, extras=1, pyramid=48).eval()
    features = network.look(network.blank)
    assert [feature.shape[1] for feature in features[:3]] == [48] * 3
    assert [feature.shape[-1] for feature in features] == [12, 6, 3, 2]


def test_the_smallest_pyramid_takes_one_image_whose_last_map_is_one_cell() -> None:
    network = retinanet(3, 64, backbone="resnet18", pyramid=32)
    assert torch.isfinite(network.eval()(torch.rand(1, 3, 64, 64))[0]).all()


@pytest.mark.parametrize("version", [1, 2])
def test_a_small_retinanet_has_its_channels_on_every_level(version: int) -> None:
    from torchvision.models import resnet18

    network = retinanet(3, 64, version=version, backbone="resnet18", pyramid=64)
    features = network.eval().look(network.blank)
    assert [feature.shape[1] for feature in features] == [64] * 5
    assert [feature.shape[-1] for feature in features] == [8, 4, 2, 1, 1]
    logits, _ = network(network.blank)
    assert logits.shape == (1, len(network.anchors), 3)
    network.load_backbone(resnet18(weights=None).state_dict())
    with pytest.raises(InputError, match="backbone"):
        network.load_backbone(models.build("retinanet", classes=2, size=64).state_dict())


def test_anchors_have_the_sides_that_are_asked_for() -> None:
    network = ssdlite(2, 100, extras=0, scales=[0.1, 0.3, 0.9])
    squares = network.anchors[:, 2:] - network.anchors[:, :2]
    assert squares[0].tolist() == pytest.approx([10, 10])
    assert squares[-6].tolist() == pytest.approx([30, 30])
    sides = (
        retinanet(2, 64, smallest=8).anchors[:, 2:] - retinanet(2, 64, smallest=8).anchors[:, :2]
    )
    assert float(sides.prod(1).sqrt().min()) == pytest.approx(8, rel=0.15)


def test_a_backbone_from_elsewhere_keeps_its_statistics() -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = retinanet(3, 64)
    images = torch.rand(2, 3, 64, 64)
    name = "backbone.body.bn1.running_mean"
    network.train().raw(images)
    assert float(network.state_dict()[name].abs().sum()) > 0  # its own move
    weights = resnet50(weights=None).state_dict()
    network.load_backbone(weights)
    network.train().raw(images)
    assert torch.equal(network.state_dict()[name], weights["bn1.running_mean"])
    assert network.head.training
    assert not network.backbone.body.bn1.training
    assert network.backbone.body.bn1.weight.requires_grad


def test_they_are_built_by_name_with_what_the_data_says() -> None:
    for name in models.DETECTORS:
        known = models.arguments(name, 5, 3, size=64)
        assert known == {"classes": 5, "size": 64}
        built = models.build(name, **known)
        assert isinstance(built, Dense)
        assert (built.classes, built.size, models.is_builtin(name)) == (5, 64, True)


@pytest.mark.parametrize(
    ("name", "args", "line"),
    [
        ("ssdlite", {"size": 16}, "size has to be 32 to 2048"),
        ("ssdlite", {"classes": 0}, "classes has to be 1 or more"),
        ("ssdlite", {"backbone": "medium"}, '"small" or "large"'),
        ("ssdlite", {"finest": 4}, "finest has to be 8 or 16"),
        ("ssdlite", {"extras": 9}, "extras have to be 0 to 4"),
        ("ssdlite", {"pyramid": -1}, "pyramid has to be"),
        ("ssdlite", {"width": 0.0}, "width has to be"),
        ("ssdlite", {"scales": [0.5, 0.2]}, "2 or 7 rising parts"),
        ("ssdlite", {"scales": [0.1, 0.2, 0.3]}, "2 or 7 rising parts"),
        ("retinanet", {"version": 3}, "version has to be 1 or 2"),
        ("retinanet", {"smallest": 200}, "smallest has to be"),
        ("retinanet", {"backbone": "large"}, 'be resnet18, resnet34, resnet50, not "large"'),
        ("retinanet", {"pyramid": 48}, "pyramid has to be 32 to 512 channels"),
        ("retinanet", {"pyramid": 0}, "pyramid has to be 32 to 512 channels"),
        ("retinanet", {"pyramid": 544}, "pyramid has to be 32 to 512 channels"),
    ],
)
def test_arguments_out_of_range_are_refused(name: str, args: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        models.build(name, **{"classes": 2, "size": 64, **args})
