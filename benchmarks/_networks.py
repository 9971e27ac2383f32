"""The networks of the latency benchmarks as ONNX files. Weights do not change the time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STUDENT = "student"
SQUARE = (1, 3, 224, 224)
NETWORKS: dict[str, tuple[str, tuple[int, ...]]] = {
    STUDENT: ("depthwise", (1, 1, 32, 32)),
    **{
        name: (f"torchvision:{name}", SQUARE)
        for name in ("mobilenet_v3_small", "mobilenet_v2", "resnet18", "shufflenet_v2_x1_0")
    },
}
"""Those whose schedules ship."""

EDGE12: dict[str, tuple[str, tuple[int, ...]]] = {
    **{name: network for name, network in NETWORKS.items() if name != STUDENT},
    **{
        name: (f"torchvision:{name}", SQUARE)
        for name in ("efficientnet_b0", "regnet_y_400mf", "squeezenet1_1")
    },
    **{
        name: (f"timm:{name}", SQUARE)
        for name in (
            *("mobilenetv4_conv_small", "repvit_m0_9", "fastvit_t8", "mobilevitv2_050"),
            "ghostnetv2_100",
        )
    },
    "detector": ("_detector:Detector", (1, 3, 320, 320)),
}
"""Twelve classifiers that run on small boards, and a detector (``_detector``)."""

EXPORT = Path(__file__).with_name("_export.py")


def onnx_file(name: str, folder: Path) -> Path:
    """The network's ONNX file in ``folder``; a missing file is exported in a separate process."""
    spec, shape = (NETWORKS | EDGE12)[name]
    return export(spec, shape, folder / f"{name}.onnx")


def export(spec: str, shape: tuple[int, ...], path: Path, *, free_batch: bool = False) -> Path:
    """``path``; a missing file is exported in a separate process.

    Args:
        spec: as for `tvmkd.models.build`, or ``timm:NAME``.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [str(path), spec, "free" if free_batch else "fixed", *map(str, shape)]
        subprocess.run([sys.executable, str(EXPORT), *words], check=True, stdout=2)
    return path
