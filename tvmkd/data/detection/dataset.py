"""One split of detection data, in the format of torchvision's detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tvmkd.base.images import UnreadableImage, together
from tvmkd.data.detection.annotations import Annotation
from tvmkd.data.pictures import MOST_DECODED, damaged, whole


class Target(TypedDict):
    """The objects of one image."""

    boxes: Tensor
    """float32 ``[n, 4]``: ``x1, y1, x2, y2`` in pixels"""
    labels: Tensor
    """int64 ``[n]``, from 1: 0 is the background"""
    difficult: Tensor
    """bool ``[n]``: hard to recognise, ignored by VOC's metric"""
    iscrowd: Tensor
    """bool ``[n]``: a region of many objects, ignored by COCO's metric"""
    image_id: int


class DetectionImages(Dataset[tuple[Tensor, Target]]):
    """Images with their targets; images are decoded on access.

    Args:
        annotations: annotations in index order.
        crowds: include crowds in the targets. Metrics need them; in training they would be wrong,
            since a box of many objects is not one object.
    """

    def __init__(self, annotations: Sequence[Annotation], *, crowds: bool) -> None:
        self.annotations = tuple(annotations)
        self.crowds = crowds

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """The image, float32 ``[3, H, W]`` of 0 to 1, and its target.

        Raises:
            InputError: the file is damaged (the message names all files that are), or its size
                differs from the annotation.
        """
        annotation = self.annotations[index]
        try:
            pixels = torch.from_numpy(whole(annotation.image, annotation.size))
        except UnreadableImage as error:
            sizes = {entry.image: entry.size for entry in self.annotations}
            found = damaged([*sizes][:MOST_DECODED], lambda path: whole(path, sizes[path]))
            raise together(found or [error]) from None
        return pixels.float() / 255.0, self.target(index)

    def target(self, index: int) -> Target:
        """The target of ``self[index]``, without decoding the image."""
        annotation = self.annotations[index]
        keep = torch.from_numpy(~annotation.crowd | self.crowds)
        return {
            "boxes": torch.from_numpy(annotation.boxes)[keep],
            "labels": torch.from_numpy(annotation.labels)[keep],
            "difficult": torch.from_numpy(annotation.difficult)[keep],
            "iscrowd": torch.from_numpy(annotation.crowd)[keep],
            "image_id": annotation.image_id,
        }


def collate(items: Sequence[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """A ``collate_fn``: images and targets as lists, since image sizes and box counts differ."""
    return [image for image, _ in items], [target for _, target in items]
