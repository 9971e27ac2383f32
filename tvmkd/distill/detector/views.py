"""A split's images as a network sees them: of its size, and changed at random while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torchvision import tv_tensors
from torchvision.transforms import v2

from tvmkd.data.detection.dataset import DetectionImages, Target

GRAY = 114  # what is around an image that was zoomed out of: the mean of photographs
KEPT = 1 << 30  # bytes
LEAST = 3.0  # pixels a side of a box that can still be learnt from


class Views:
    """Images of one size, with boxes to match.

    A view depends on the seed, the image and its number alone, so that a teacher's answers to it
    can be kept.

    Args:
        images: the split.
        size: pixels a side; the aspect is not kept, as it is not when the detector runs.
        augment: ``crop`` (cuts, Liu et al., 2016), ``zoom`` (out of the image), ``colour``,
            ``flip`` (left to right). None: the image as it is.
        seed: of what is random.
        keep: whether views come again, so that they are worth keeping in memory (up to `KEPT`).
    """

    def __init__(
        self,
        images: DetectionImages,
        size: int,
        augment: Sequence[str] = (),
        seed: int = 0,
        *,
        keep: bool = False,
    ) -> None:
        self.images, self.size, self.seed = images, size, seed
        self._most = KEPT // (3 * size * size) if keep else 0
        self._kept: dict[tuple[int, int], tuple[Tensor, Target]] = {}
        self.augment = tuple(augment)
        steps: list[Any] = []
        if "colour" in augment:
            steps.append(v2.RandomPhotometricDistort(p=0.5))
        if "zoom" in augment:
            steps.append(v2.RandomZoomOut(fill=GRAY, side_range=(1.0, 1.6), p=0.3))
        if "crop" in augment:
            steps.append(v2.RandomIoUCrop(min_scale=0.5))
        if "flip" in augment:
            steps.append(v2.RandomHorizontalFlip(0.5))
        steps.append(v2.Resize((size, size), antialias=True))
        if augment:
            steps.append(v2.SanitizeBoundingBoxes(min_size=LEAST, labels_getter=_labels))
        self._change = v2.Compose(steps)

    def __len__(self) -> int:
        return len(self.images)

    def view(self, index: int, number: int = 0) -> tuple[Tensor, Target]:
        """The image, uint8 ``[3, size, size]``, and its target in pixels of that.

        Raises:
            InputError: the image cannot be read.
        """
        known = self._kept.get((index, number))
        if known is not None:
            return known
        made = self._make(index, number)
        if len(self._kept) < self._most:
            self._kept[index, number] = made
        return made

    def _make(self, index: int, number: int) -> tuple[Tensor, Target]:
        image, target = self.images[index]
        boxes = tv_tensors.BoundingBoxes(
            target["boxes"],
            format=tv_tensors.BoundingBoxFormat.XYXY,
            canvas_size=tuple(image.shape[-2:]),
        )
        plain = {key: value for key, value in target.items() if key not in ("boxes", "image_id")}
        pixels = tv_tensors.Image((image * 255).round().to(torch.uint8))
        (start,) = np.random.SeedSequence([self.seed, index, number]).generate_state(1)
        with _DrawingFrom(torch.Generator().manual_seed(int(start))):
            pixels, boxes, plain = self._change(pixels, boxes, plain)
        made: Any = {
            "boxes": boxes.as_subclass(Tensor).float(),
            **plain,
            "image_id": target["image_id"],
        }
        return pixels.as_subclass(Tensor), made

    def batch(self, indices: Sequence[int], number: int = 0) -> tuple[Tensor, list[Target]]:
        """Views of several images: float32 ``[N, 3, size, size]`` of 0 to 1, and their targets."""
        found = [self.view(index, number) for index in indices]
        images = torch.stack([image for image, _ in found]).float() / 255
        return images.contiguous(memory_format=torch.channels_last), [t for _, t in found]

    def ready(self, number: int) -> bool:
        """Whether views of this number of all images are in memory."""
        return all((index, number) in self._kept for index in range(len(self)))

    def sample(self, count: int) -> Tensor:
        """Images evenly spread over the split: float32 ``[count, 3, size, size]``."""
        picks = torch.linspace(0, len(self) - 1, min(count, len(self))).round().long().tolist()
        return self.batch(picks)[0]


class _DrawingFrom(TorchFunctionMode):
    """Meanwhile, in this thread, torch's random functions draw from a generator.

    torchvision's transforms only know torch's global one, from which the training draws in another
    thread.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func in _RANDOM:
            given.setdefault("generator", self._generator)
        return func(*args, **given)


_RANDOM = frozenset(
    {
        torch.rand,
        torch.randn,
        torch.randint,
        torch.randperm,
        torch.bernoulli,
        torch.multinomial,
        torch.normal,
        Tensor.uniform_,
        Tensor.normal_,
        Tensor.random_,
        Tensor.bernoulli_,
    }
)


def _labels(sample: Any) -> tuple[Tensor, ...]:
    """The parts of a sample that are removed with their box."""
    _, _, plain = sample
    return plain["labels"], plain["difficult"], plain["iscrowd"]
