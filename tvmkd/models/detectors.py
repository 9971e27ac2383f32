"""Torchvision's detectors for a fixed image size: raw outputs, fixed anchors.

The compiled part ends before anchors are decoded. For distilling, the same module also returns its
features and computes its loss.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import mobilenetv3, resnet18, resnet34, resnet50
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead, _extra_block, _normal_init
from torchvision.ops import box_iou
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from tvmkd.base.detector_description import Activation, Description
from tvmkd.base.errors import InputError, UsageError
from tvmkd.data.detection.dataset import Target
from tvmkd.models import state_dicts

SMALLEST, LARGEST = 32, 2048  # pixels a side
RESNETS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
BOX_WEIGHTS = {"sigmoid": (1.0, 1.0, 1.0, 1.0), "softmax": (10.0, 10.0, 5.0, 5.0)}


Normaliser = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Raw:
    """A detector's output for a batch: ``logits [N, A, K]``, ``offsets [N, A, 4]``, features.

    ``features`` are the head's input maps ``[N, C, h, w]``, the finest first.
    """

    logits: Tensor
    offsets: Tensor
    features: list[Tensor]


class Dense(nn.Module):
    """The base class of both kinds of detectors. Labels count from 1, as torchvision's."""

    output_names = ("logits", "offsets")  # in an ONNX file
    activation: Activation
    _settled = False  # before its parts are there, too
    anchors: Tensor
    """float32 ``[A, 4]``, pixels of the input"""

    def _finish(self, classes: int, size: int, prefix: str, trunk: nn.Module) -> None:
        self.classes, self.size = classes, size
        # In a tuple, so that its weights are not registered twice.
        self._trunk = (prefix, trunk)
        mode = self.training
        with torch.no_grad():
            self.eval()
            image = torch.zeros(1, 3, size, size)
            generator = cast(nn.Module, self.anchor_generator)
            (anchors,) = generator(ImageList(image, [(size, size)]), self.look(image))
        self.train(mode)
        self.register_buffer("anchors", anchors, persistent=False)
        transform = cast(Any, self.transform)
        for name, values in (("mean", transform.image_mean), ("std", transform.image_std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def load_backbone(self, weights: Mapping[str, Tensor]) -> None:
        """Loads a classifier's weights, without its last layers, into the backbone.

        Args:
            weights: for `retinanet` those of torchvision's ResNet of the same depth, for `ssdlite`
                those of its MobileNetV3 of the same kind, width and tail.

        Raises:
            InputError: the weights do not fit the backbone.
        """
        prefix, trunk = self._trunk
        own = trunk.state_dict()
        found = {f"{prefix}{name}": name for name in own}
        shapes = {name: own[mine].shape for name, mine in found.items()}
        weights = state_dicts.aligned(weights, shapes)
        wrong = [
            name
            for name, mine in found.items()
            if name not in weights or weights[name].shape != own[mine].shape
        ]
        if wrong:
            raise InputError(
                f"not the weights of this detector's backbone: {len(wrong)} of {len(found)} are "
                f"missing or of another shape, the first is {wrong[0]}"
            )
        trunk.load_state_dict({mine: weights[name] for name, mine in found.items()})
        self.settle()

    def settle(self) -> None:
        """Freezes the backbone's batch statistics, as after `load_backbone`."""
        self._settled = True

    def train(self, mode: bool = True) -> Dense:
        """Sets the mode; the batch statistics of a loaded backbone stay frozen.

        As in torchvision: a detector's batches have too few images to estimate them.
        """
        super().train(mode)
        if self._settled:
            for module in self._trunk[1].modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def look(self, images: Tensor) -> list[Tensor]:
        """Maps normalised images to the head's input maps, the finest first."""
        return list(cast(nn.Module, self.backbone)(images).values())

    def output_layers(self) -> list[nn.Module]:
        """The convolutions that compute logits and offsets."""
        raise NotImplementedError

    @property
    def blank(self) -> Tensor:
        """One input of zeros."""
        return torch.zeros(1, 3, self.size, self.size, device=self.anchors.device)

    def raw(self, images: Tensor) -> Raw:
        """Images ``[N, 3, size, size]``, RGB of 0 to 1, to all outputs."""
        features = self.look((images - cast(Tensor, self.mean)) / cast(Tensor, self.std))
        found = cast(nn.Module, self.head)(features)
        return Raw(found["cls_logits"].float(), found["bbox_regression"].float(), features)

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Images ``[N, 3, size, size]``, RGB of 0 to 1, to ``logits`` and ``offsets``.

        Shapes as in a `Description`: ``[N, A, K]`` and ``[N, A, 4]``.
        """
        found = self.raw(images)
        return self.answers(found.logits), found.offsets

    def answers(self, logits: Tensor) -> Tensor:
        """The logits without unused columns."""
        return logits[..., 1:] if self.activation == "sigmoid" else logits

    def describe(self, classes: Sequence[str]) -> Description:
        """The description needed to decode the outputs.

        Args:
            classes: the names of all classes.
        """
        return Description(
            tuple(classes),
            self.size,
            self.activation,
            BOX_WEIGHTS[self.activation],
            self.anchors.cpu().numpy(),
        )

    def loss(
        self, found: Raw, targets: Sequence[Target], normaliser: Normaliser | None = None
    ) -> Tensor:
        """The network's own loss, as torchvision computes it: classes and boxes, a scalar.

        Args:
            found: the network's output for a batch.
            targets: the objects of each image, boxes in pixels of the input.
            normaliser: maps the number of matched anchors in these images to the divisor of the
                loss; None: the number itself. For processes that share a batch.
        """
        raise NotImplementedError


class DenseRetinaNet(Dense, RetinaNet):  # type: ignore[misc]  # torchvision has no types
    """RetinaNet (Lin et al., 2017), column 0 of its head unused, as in torchvision's weights."""

    activation: Activation = "sigmoid"

    def output_layers(self) -> list[nn.Module]:
        """One convolution for classes and one for boxes, shared by all maps."""
        head = cast(Any, self.head)
        return [head.classification_head.cls_logits, head.regression_head.bbox_reg]

    def loss(
        self, found: Raw, targets: Sequence[Target], normaliser: Normaliser | None = None
    ) -> Tensor:
        """Focal loss, and L1 or GIoU of the boxes; each image is normalised separately."""
        del normaliser
        outputs = {"cls_logits": found.logits, "bbox_regression": found.offsets}
        anchors = [self.anchors] * len(targets)
        return cast(Tensor, sum(cast(Any, self).compute_loss(targets, outputs, anchors).values()))


class DenseSsd(Dense, SSD):  # type: ignore[misc]  # as above
    """SSD (Liu et al., 2016) with the head of MobileNetV3's SSDLite."""

    activation: Activation = "softmax"

    def output_layers(self) -> list[nn.Module]:
        """For each map the last convolutions for classes and for boxes."""
        head = cast(Any, self.head)
        parts = (head.classification_head, head.regression_head)
        return [block[-1] for part in parts for block in part.module_list]

    def loss(
        self, found: Raw, targets: Sequence[Target], normaliser: Normaliser | None = None
    ) -> Tensor:
        """Cross entropy with three hard negatives per positive, and smooth L1 of the boxes.

        Their sum is divided by the number of matched anchors in all images.
        """
        outputs = {"cls_logits": found.logits, "bbox_regression": found.offsets}
        own = cast(Any, self)
        matched = [
            torch.full((len(self.anchors),), -1, device=self.anchors.device)
            if not len(target["boxes"])
            else own.proposal_matcher(box_iou(target["boxes"], self.anchors))
            for target in targets
        ]
        anchors = [self.anchors] * len(targets)
        losses = own.compute_loss(list(targets), outputs, anchors, matched)
        total = cast(Tensor, sum(losses.values()))
        if normaliser is None:
            return total
        count = torch.stack([(match >= 0).sum() for match in matched]).sum().float()
        return total * (count.clamp_min(1.0) / normaliser(count))


def retinanet(
    classes: int,
    size: int,
    *,
    version: int = 2,
    smallest: float = 32.0,
    backbone: str = "resnet50",
    pyramid: int = 256,
) -> Dense:
    """RetinaNet on a ResNet and FPN, untrained.

    With the default backbone and pyramid, torchvision's weights of the same version fit.

    Args:
        classes: without the background.
        size: pixels a side of the input.
        version: 1 or 2, torchvision's ``retinanet_resnet50_fpn`` and ``..._v2``.
        smallest: side of the smallest anchor, pixels; 32 in torchvision. It doubles with each level
            of the pyramid.
        backbone: ``resnet18``, ``resnet34`` or ``resnet50``.
        pyramid: channels of the feature pyramid and of the heads, a multiple of 32.

    Raises:
        UsageError: an argument is out of range.
    """
    _check(classes, size)
    if version not in (1, 2):
        raise UsageError(f"version has to be 1 or 2, not {version}")
    if not 4 <= smallest <= size:
        raise UsageError(f"smallest has to be 4 to {size} pixels, not {smallest:g}")
    if backbone not in RESNETS:
        raise UsageError(f'backbone has to be {", ".join(RESNETS)}, not "{backbone}"')
    if pyramid % 32 or not 32 <= pyramid <= 512:
        raise UsageError(f"pyramid has to be 32 to 512 channels, a multiple of 32, not {pyramid}")
    # Without pretrained weights, residual branches that start at zero learn faster (Goyal et al.,
    # 2017).
    resnet = RESNETS[backbone](weights=None, zero_init_residual=True)
    last = resnet.inplanes
    trunk = BackboneWithFPN(
        resnet,
        {"layer2": "0", "layer3": "1", "layer4": "2"},
        [last // 4, last // 2, last],
        pyramid,
        LastLevelP6P7(pyramid if version == 1 else last, pyramid),
    )
    sides = [smallest * 2**level for level in range(5)]
    sizes = tuple(tuple(int(side * 2 ** (step / 3)) for step in range(3)) for side in sides)
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    # A group of one channel of one cell has no variance.
    norm = functools.partial(nn.GroupNorm, min(32, pyramid // 2)) if version == 2 else None
    count = anchors.num_anchors_per_location()[0]
    head = RetinaNetHead(pyramid, count, classes + 1, norm_layer=norm)
    if version == 2:
        head.regression_head._loss_type = "giou"
    made = DenseRetinaNet(trunk, classes + 1, anchor_generator=anchors, head=head)
    made._finish(classes, size, "", cast(nn.Module, trunk.body))
    return made


def ssdlite(
    classes: int,
    size: int,
    *,
    backbone: str = "small",
    width: float = 1.0,
    reduced_tail: bool = True,
    finest: int = 16,
    extras: int = 4,
    pyramid: int = 0,
    scales: Sequence[float] = (0.2, 0.95),
) -> Dense:
    """MobileNetV3 with an SSDLite head, untrained.

    Args:
        classes: without the background.
        size: pixels a side of the input.
        backbone: ``small`` or ``large``.
        width: multiplies the backbone's channels.
        reduced_tail: halves the channels of the last blocks, as torchvision's detector does; its
            classifiers do not.
        finest: stride of the finest map, 8 or 16. 16 is torchvision's (and misses small objects).
        extras: number of maps after the backbone's, each half the size of the previous one, 0 to 4;
            torchvision has 4.
        pyramid: channels of a feature pyramid over the backbone's maps (Lin et al., 2017): without
            it, the finest map comes from early layers, which detect edges and not objects. 0: no
            pyramid.
        scales: sides of the smallest and of the largest anchor as fractions of the image,
            interpolated linearly for the maps between them; or one side per map and an additional
            last one.

    Raises:
        UsageError: an argument is out of range.
    """
    _check(classes, size)
    if backbone not in ("small", "large"):
        raise UsageError(f'backbone has to be "small" or "large", not "{backbone}"')
    if finest not in (8, 16):
        raise UsageError(f"finest has to be 8 or 16, not {finest}")
    if not 0.1 <= width <= 4:
        raise UsageError(f"width has to be 0.1 to 4, not {width:g}")
    if not 0 <= pyramid <= 512:
        raise UsageError(f"pyramid has to be 0 to 512 channels, not {pyramid}")
    if not 0 <= extras <= 4:
        raise UsageError(f"extras have to be 0 to 4, not {extras}")
    maps = {16: 2, 8: 3}[finest] + extras
    rising = all(0 < low < high <= 1 for low, high in itertools.pairwise(scales))
    if len(scales) not in (2, maps + 1) or not rising:
        raise UsageError(f"scales have to be 2 or {maps + 1} rising parts of 1, not {list(scales)}")
    norm = functools.partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    kind = f"mobilenet_v3_{backbone}"
    settings, last = mobilenetv3._mobilenet_v3_conf(
        kind, width_mult=width, reduced_tail=reduced_tail
    )
    features = mobilenetv3.MobileNetV3(settings, last, norm_layer=norm).features
    _normal_init(features)
    extractor = _Extractor(features, finest, extras, width, norm, pyramid)
    with torch.no_grad():
        found = extractor.eval()(torch.zeros(1, 3, size, size)).values()
    channels = [feature.shape[1] for feature in found]
    extractor.train()
    ratios = [[2, 3] for _ in channels]
    if len(scales) == 2:
        anchors = DefaultBoxGenerator(ratios, min_ratio=scales[0], max_ratio=scales[1])
    else:
        anchors = DefaultBoxGenerator(ratios, scales=list(scales))
    counts = anchors.num_anchors_per_location()
    made = DenseSsd(
        extractor,
        anchors,
        (size, size),
        classes + 1,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        head=SSDLiteHead(channels, counts, classes + 1, norm),
    )
    made._finish(classes, size, "features.", features)
    return made


class _Extractor(nn.Module):
    """Maps of MobileNetV3 at strides ``finest`` to 32, and extra maps, as in SSDLite.

    At strides below 32 the map is the expansion of the block that halves it (section 6.3 of the
    MobileNetV3 paper).
    """

    def __init__(
        self,
        backbone: nn.Sequential,
        finest: int,
        extras: int,
        width: float,
        norm: Any,
        pyramid: int,
    ) -> None:
        super().__init__()
        halving = [at for at, block in enumerate(backbone) if getattr(block, "_is_cn", False)]
        wanted = {16: halving[-1:], 8: halving[-2:]}[finest]
        pieces: list[nn.Module] = []
        before: list[nn.Module] = []
        depths: list[int] = []
        for at, block in enumerate(backbone):
            if at in wanted:
                inner = cast(nn.Sequential, block.block)
                pieces.append(nn.Sequential(*before, inner[0]))
                depths.append(cast(Any, inner[0]).out_channels)
                before = [inner[1:]]
            else:
                before.append(block)
        self.features = nn.Sequential(*pieces, nn.Sequential(*before))
        depths.append(cast(Any, backbone[-1]).out_channels)
        self.pyramid = FeaturePyramidNetwork(depths, pyramid) if pyramid else None
        wide = [max(16, int(depth * width)) for depth in (512, 256, 256, 128)]
        self.extra = nn.ModuleList(
            _extra_block(one, other, norm)
            for one, other in itertools.pairwise([depths[-1], *wide[:extras]])
        )
        _normal_init(self.extra)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps ``[N, 3, H, W]`` to the feature maps, by number."""
        found = []
        for block in self.features:
            x = block(x)
            found.append(x)
        if self.pyramid is not None:
            maps = {str(number): feature for number, feature in enumerate(found)}
            found = list(self.pyramid(maps).values())
        for block in self.extra:
            x = block(x)
            found.append(x)
        return {str(number): feature for number, feature in enumerate(found)}


def _check(classes: int, size: int) -> None:
    if classes < 1:
        raise UsageError(f"classes has to be 1 or more, not {classes}")
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"size has to be {SMALLEST} to {LARGEST} pixels, not {size}")
