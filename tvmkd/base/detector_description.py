"""How to decode a detector's raw outputs, stored in the metadata of its ONNX file."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tvmkd.base.errors import InputError

KEY = "tvmkd.detector"
VERSION = 1
# Limits what a file can make this process allocate. RetinaNet at 1024 x 1024 has 196,416 anchors.
MOST_ANCHORS = 1 << 20
MOST_SIZE = 4096
Activation = Literal["sigmoid", "softmax"]

# How outputs become boxes, in Python (`tvmkd.detection`) and in standalone libraries.
THRESHOLD, OVERLAP = 0.05, 0.5  # of a score, if none was calibrated; of intersection over union
MOST = 300  # boxes per image, as in torchvision's RetinaNet and SSDLite
# Candidates that are passed to suppression: RetinaNet per image, SSD per class.
TOPK: Mapping[Activation, int] = {"sigmoid": 1000, "softmax": 400}
CLAMP = math.log(1000 / 16)  # limit of dw and dh, as in torchvision: sides at most 62.5 times
SLACK = 1e-3  # of a logit: rounding must not drop a box whose exact score passes


@dataclass(frozen=True, eq=False)
class Description:
    """How a detector's outputs become boxes; stored in ``metadata_props`` and in a manifest.

    Input of the network: ``[N, 3, size, size]`` float32 RGB between 0 and 1. Outputs, for each of A
    anchors: logits ``[N, A, K]`` and offsets ``[N, A, 4]`` (``dx, dy, dw, dh`` of Faster R-CNN, Ren
    et al., 2015, times ``box_weights``).

    Args:
        classes: the class names; the first has label 1.
        size: height and width of the input in pixels.
        activation: ``sigmoid``: one logit a class as in RetinaNet, K = number of classes;
            ``softmax``: as in SSD, K = number of classes + 1, the background first.
        box_weights: factors of dx, dy, dw, dh.
        anchors: float32 ``[A, 4]``, ``x1, y1, x2, y2`` in pixels of the input.
        threshold: least score of a detection if nobody gives another, above 0 and below 1; None:
            it was not calibrated.
    """

    classes: tuple[str, ...]
    size: int
    activation: Activation
    box_weights: tuple[float, float, float, float]
    anchors: NDArray[np.float32]
    threshold: float | None = None

    @property
    def outputs(self) -> int:
        """K, the number of logits for each anchor."""
        return len(self.classes) + (self.activation == "softmax")

    def to_metadata(self) -> dict[str, str]:
        """One entry for an ONNX file's ``metadata_props``."""
        packed = zlib.compress(self.anchors.astype("<f4").tobytes(), 9)
        content: dict[str, Any] = {
            "version": VERSION,
            "classes": list(self.classes),
            "size": self.size,
            "activation": self.activation,
            "box_weights": list(self.box_weights),
            "anchors": base64.b64encode(packed).decode("ascii"),
        }
        if self.threshold is not None:
            content["threshold"] = self.threshold
        return {KEY: json.dumps(content)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str) -> Description:
        """Reads what `to_metadata` wrote.

        Args:
            metadata: the metadata of an ONNX file or a manifest.
            where: the file's name, for messages.

        Raises:
            InputError: there is no description, or it is damaged or of a newer version.
        """
        text = metadata.get(KEY)
        if text is None:
            raise InputError(
                f"{where}: has no anchors and classes in its metadata, so it is no detector of "
                "tvmkd; export one that tvmkd distill has trained"
            )
        try:
            content = json.loads(text)
            if content["version"] != VERSION:
                raise InputError(
                    f"{where}: detector version {content['version']}; this tvmkd reads {VERSION}: "
                    "update tvmkd"
                )
            names = content["classes"]
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("its classes are no list of names")
            size = int(content["size"])
            activation = content["activation"]
            dx, dy, dw, dh = (float(weight) for weight in content["box_weights"])
            anchors = _unpacked(content["anchors"])
            threshold = content.get("threshold")  # files from before it was calibrated have none
            if (
                not names
                or not 0 < size <= MOST_SIZE
                or activation not in ("sigmoid", "softmax")
                or not all(0 < weight < math.inf for weight in (dx, dy, dw, dh))
                or not np.isfinite(anchors).all()
            ):
                raise ValueError("its classes, size, activation, weights or anchors make no sense")
            if threshold is not None and not 0 < (threshold := float(threshold)) < 1:
                raise ValueError(f"its threshold is {threshold:g}, not between 0 and 1")
            return cls(tuple(names), size, activation, (dx, dy, dw, dh), anchors, threshold)
        except _DAMAGED as error:
            raise InputError(
                f"{where}: its detector's description is damaged: {error}; export it again"
            ) from None


_DAMAGED = (KeyError, TypeError, ValueError, OverflowError, RecursionError, zlib.error)


def _unpacked(text: str) -> NDArray[np.float32]:
    """Decodes anchors from base64 and zlib; stops at `MOST_ANCHORS` before it allocates more."""
    stream = zlib.decompressobj()
    unpacked = stream.decompress(base64.b64decode(text, validate=True), MOST_ANCHORS * 16 + 1)
    if len(unpacked) > MOST_ANCHORS * 16:
        raise ValueError(f"it has more than {MOST_ANCHORS} anchors")
    if not stream.eof or stream.unused_data:
        raise ValueError("its anchors are cut short, or something follows them")
    return np.frombuffer(unpacked, "<f4").astype(np.float32).reshape(-1, 4)
