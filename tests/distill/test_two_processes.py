from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_processes
from tiny_detectors import scenes

SCRIPT = Path(two_processes.__file__)


def start(folder: Path, processes: int) -> None:
    """Runs the script in as many processes as torchrun would start, with its environment."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []
    for rank in range(processes):
        names = {"WORLD_SIZE": processes, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
        env = {**os.environ, **{name: str(value) for name, value in names.items()}}
        env |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(SCRIPT), str(folder)]
        running.append(subprocess.Popen(command, env=env))
    codes = [process.wait(timeout=300) for process in running]
    assert codes == [0] * processes


@pytest.mark.slow
def test_two_processes_train_the_network_that_one_does(tmp_path: Path) -> None:
    """Gradients, batch statistics, losses and scores: all of a batch, whoever computes them."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    scenes(tmp_path)
    for folder, processes in ((alone, 1), (together, 2)):
        start(folder, processes)
    for name in ("classifier", "detector"):
        one = torch.load(alone / f"{name}.pt")
        two = torch.load(together / f"{name}.pt")
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert one["scores"] == pytest.approx(two["scores"], abs=0.02)
        torch.testing.assert_close(two["weights"], one["weights"], rtol=1e-3, atol=1e-4)
