from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_detectors import scenes

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process and two have trained, started by torchrun."""
    root = tmp_path_factory.mktemp("processes")
    scenes(root)
    # Gloo may abort a process when it starts or ends on a loaded machine; torchrun then starts both
    # again, and what `distill` had done is kept.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, "--max-restarts=3", str(SCRIPT), str(root)],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[:6000]
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


@pytest.mark.slow
def test_processes_of_one_run_see_the_same_numbers(folder: Path) -> None:
    scores = [(folder / f"score{rank}").read_text() for rank in range(2)]
    assert len(set(scores)) == 1
    found = json.loads((folder / "run" / "metrics.json").read_text())["chosen"]["test_accuracy"]
    assert scores[0].startswith(f"{found:.6f} ")
    assert found * 1200 == pytest.approx(round(found * 1200)), "each image is counted once"
    assert (folder / "run" / "students" / "distilled-0.pt").is_file()
