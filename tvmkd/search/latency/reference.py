"""The fixed network that is timed beside others, to see how a machine drifts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tvmkd.search.latency import skeleton
from tvmkd.search.latency.lowering import Lowering

FOLDER = "reference"
SHAPE = (1, 3, 96, 96)
"""Of its input: so large that some kernels use all cores, and some one."""


def build(lowering: Lowering, folder: Path) -> None:
    """Builds it without records: it must stay the same when the table gets better ones."""
    from tvmkd.models.depthwise import DepthwiseNet

    with tempfile.TemporaryDirectory(prefix="tvmkd-reference-") as work:
        onnx = skeleton.write(DepthwiseNet(channels=SHAPE[1]), SHAPE, Path(work) / "fixed.onnx")
        lowering.build(onnx, [], folder)
