"""The networks of the latency benchmarks as ONNX files. Weights do not change the time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STUDENT = "student"
NETWORKS: dict[str, tuple[str, tuple[int, ...]]] = {
    STUDENT: ("depthwise", (1, 1, 32, 32)),
    "mobilenet_v3_small": ("torchvision:mobilenet_v3_small", (1, 3, 224, 224)),
    "mobilenet_v2": ("torchvision:mobilenet_v2", (1, 3, 224, 224)),
    "resnet18": ("torchvision:resnet18", (1, 3, 224, 224)),
    "shufflenet_v2_x1_0": ("torchvision:shufflenet_v2_x1_0", (1, 3, 224, 224)),
}

EXPORT = """
import sys
from pathlib import Path
import torch
from tvmkd.export import export
from tvmkd.models import build

out, spec, free, *shape = sys.argv[1:]
torch.manual_seed(0)
network = build(spec).eval()
for module in network.modules():
    if isinstance(module, torch.nn.Linear) and not module.weight.any():
        # A transformer's head starts as zeros, and every output would be right.
        torch.nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, torch.nn.BatchNorm2d):
        # Fresh statistics are the identity, which an optimiser could fold away to nothing.
        module.running_mean.uniform_(-0.1, 0.1)
        module.running_var.uniform_(0.5, 1.5)
export(network, Path(out), [int(size) for size in shape], dynamic_batch=free == "free")
"""


def onnx_file(name: str, folder: Path) -> Path:
    """The network's ONNX file in ``folder``; a missing file is exported in a separate process."""
    spec, shape = NETWORKS[name]
    return export(spec, shape, folder / f"{name}.onnx")


def export(spec: str, shape: tuple[int, ...], path: Path, *, free_batch: bool = False) -> Path:
    """``path``; a missing file is exported in a separate process."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [str(path), spec, "free" if free_batch else "fixed", *map(str, shape)]
        subprocess.run([sys.executable, "-c", EXPORT, *words], check=True, stdout=2)
    return path
