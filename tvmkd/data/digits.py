"""scikit-learn's 1,797 real handwritten digits: the embedded data set (no download)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it

from tvmkd.data import augment
from tvmkd.data.splits import Splits, TensorImages

if TYPE_CHECKING:
    from tvmkd.config import Data

# Few labels on purpose: with more labels every network is nearly perfect, and distilling has no
# effect. The large test split can show differences of a few tenths of a percent.
TRAIN, VAL, TEST = 256, 341, 1200
MEAN, STD = 0.305, 0.35


def load_digits(cfg: Data) -> Splits:
    """The digits as ``[1, size, size]`` images, in one fixed, stratified split.

    The split is the same for every config: 256 for training, 341 for validation, 1,200 for testing.
    """
    from sklearn.datasets import load_digits as sklearn_digits

    raw = sklearn_digits()
    pixels = np.ascontiguousarray(raw.images, dtype=np.float32)
    labels = np.ascontiguousarray(raw.target, dtype=np.int64)
    train, val, test = split_indices(labels)

    digest = hashlib.sha256()
    for part in (pixels, labels, train, val, test, np.array(cfg.image_size)):
        digest.update(np.ascontiguousarray(part).tobytes())

    side = cfg.image_size
    images = F.interpolate(
        torch.from_numpy(pixels)[:, None] / 16.0,
        size=(side, side),
        mode="bilinear",
        align_corners=False,
    )
    targets = torch.from_numpy(labels)

    def split(indices: np.ndarray) -> TensorImages:
        picks = torch.from_numpy(np.sort(indices))
        return TensorImages(images[picks], targets[picks], [MEAN], [STD])

    return Splits(
        train=split(train),
        val=split(val),
        test=split(test),
        classes=tuple(str(name) for name in raw.target_names),
        channels=1,
        size=(side, side),
        preprocessing={
            "color": "gray",
            "source": "8x8 pixels of 0 to 16",
            "scale": 1 / 16,
            "resize": [side, side],
            "interpolation": "bilinear",
            "mean": [MEAN],
            "std": [STD],
            "layout": "NCHW",
        },
        sha256=digest.hexdigest(),
        augment=augment.named(cfg, [MEAN], [STD]),
    )


def split_indices(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of scikit-learn's digits in ``train``, ``val`` and ``test``: int64 indices.

    Args:
        labels: int64 ``[1797]``, in scikit-learn's order.
    """
    from sklearn.model_selection import train_test_split

    everything = np.arange(len(labels))
    rest, test = train_test_split(everything, test_size=TEST, stratify=labels, random_state=0)
    train, val = train_test_split(rest, train_size=TRAIN, stratify=labels[rest], random_state=0)
    return train, val, test
