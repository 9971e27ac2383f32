"""Writes as C what a library does with frames: see ``frames.h`` of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tvmkd.base.detector_description import CLAMP, MOST, OVERLAP, SLACK, THRESHOLD, TOPK
from tvmkd.base.frame_description import Frames

SOURCES = ("axes", "candidates", "detect", "frames", "resample", "results")
"""Files of the runtime that libraries with pre-processing contain."""
MEMBERS = """  .frames = &frames,
  .run_frame = tvmkd_rt_run_frame,
"""
"""In the library's description."""
GRAPH_MEMBERS = """  .frames = &frame_plan,
  .frame_bytes = tvmkd_rt_frame_bytes,
"""
_TASKS = {"tensors": "TVMKD_TENSORS", "classify": "TVMKD_CLASSIFY", "detect": "TVMKD_DETECT"}


def write(frames: Frames, anchors: str, quoted: Callable[[str], str]) -> str:
    """The tables.

    Args:
        frames: what is done.
        anchors: a detector's anchors, as an expression in C.
        quoted: makes a string of C.
    """
    classes = ",\n  ".join(map(quoted, frames.classes))
    names = f"static const char *const classes[] = {{\n  {classes}\n}};\n" if classes else ""
    detector = frames.detector
    columns, topk, count, weights, side = 0, frames.class_count, 0, (1.0,) * 4, 0
    most, threshold, overlap = frames.class_count, 0.0, 0.0
    if detector is not None:
        columns, topk = detector.outputs, TOPK[detector.activation]
        count, weights, side = len(detector.anchors), detector.box_weights, detector.size
        topk = min(topk, count * (columns if detector.activation == "sigmoid" else 1))
        most, threshold, overlap = MOST, detector.threshold or THRESHOLD, OVERLAP
    scores, offsets = (*frames.outputs, *frames.outputs, 0, 0)[:2]
    return f"""#include "frames.h"

{names}static const float subtract[] = {{{_floats(frames.subtract)}}};
static const float divide[] = {{{_floats(frames.divide)}}};
static const tvmkd_frames frames = {{
  .size = sizeof(tvmkd_frames),
  .task = {_TASKS[frames.task]},
  .max_width = {frames.largest[0]},
  .max_height = {frames.largest[1]},
  .width = {frames.size[0]},
  .height = {frames.size[1]},
  .channels = {frames.channels},
  .shorter = {frames.shorter},
  .subtract = subtract,
  .divide = divide,
  .classes = {"classes" if classes else "0"},
  .class_count = {frames.class_count},
  .max_results = {most},
  .threshold = {threshold!r},
  .overlap = {overlap!r},
}};
static const tvmkd_frame_plan frame_plan = {{
  .frames = &frames,
  .bgr = {int(frames.bgr)},
  .channels_last = {int(frames.channels_last)},
  .antialias = {int(frames.antialias)},
  .activation = SCORES_{frames.activation.upper()},
  .scores = {scores},
  .offsets = {offsets},
  .anchor_count = {count},
  .columns = {columns},
  .topk = {topk},
  .anchors = {anchors},
  .weights = {{{_floats(weights)}}},
  .largest = {_floats([CLAMP])},
  .side = {side},
  .slack = {SLACK!r},
}};
"""


def _floats(values: Iterable[float]) -> str:
    """In hexadecimal, which is exact."""
    return ", ".join(f"{value.hex()}f" for value in values)
