from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_detectors import scenes

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process and two have trained, started with the environment of torchrun."""
    root = tmp_path_factory.mktemp("processes")
    scenes(root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []
    for rank in range(2):
        names = {"WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
        env = {**os.environ, **{name: str(value) for name, value in names.items()}}
        env |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        running.append(subprocess.Popen([sys.executable, str(SCRIPT), str(root)], env=env))
    try:
        assert [process.wait(timeout=400) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "detector"])
def test_two_processes_train_the_network_that_one_does(folder: Path, name: str) -> None:
    """With augmentation, batch normalisation, hard mining, and losses normalised over a batch."""
    one = torch.load(folder / "alone" / name)
    two = torch.load(folder / "together" / name)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert two["scores"] == pytest.approx(one["scores"], abs=0.01)
    assert len(one["gradients"]) == len(two["gradients"]) > 10
    largest = max(float(gradient.abs().max()) for gradient in one["gradients"])
    for mine, other in zip(one["gradients"], two["gradients"], strict=True):
        # Some are zero but for rounding: the bias before a batch normalisation.
        torch.testing.assert_close(other, mine, rtol=1e-3, atol=1e-5 * largest)
    moved = apart = 0.0
    start = torch.load(folder / "alone" / f"{name}.pt", weights_only=True)["state"]
    for key, weight in one["weights"].items():
        assert torch.equal(start[key], weight)
        apart += float((two["weights"][key].float() - weight.float()).square().sum())
        moved += float(weight.float().square().sum())
    assert apart < 1e-6 * moved
