"""Detection data: images with any number of boxes, in VOC or COCO layout, or drawn here.

Labels are torchvision's: 0 is the background and is never stored, the classes count from 1.
"""

from __future__ import annotations

from tvmkd.data.detection.annotations import Annotation
from tvmkd.data.detection.dataset import DetectionImages, Target, collate
from tvmkd.data.detection.splits import DetectionSplits

__all__ = ["Annotation", "DetectionImages", "DetectionSplits", "Target", "collate"]
