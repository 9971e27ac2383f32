"""The fixed network that is timed beside others, to see how a machine drifts."""

from __future__ import annotations

from pathlib import Path

from tvmkd.search.latency.lowering import Lowering

FOLDER = "reference"
SHAPE = (1, 3, 96, 96)
"""Of its input: so large that some kernels use all cores, and some one."""


def build(lowering: Lowering, folder: Path) -> None:
    """Builds it without records: it must stay the same when the table gets better ones."""
    from tvmkd.models.depthwise import DepthwiseNet

    onnx = lowering.file(DepthwiseNet(channels=SHAPE[1]), SHAPE)
    lowering.build(onnx, [], folder)
    lowering.forget(onnx)
