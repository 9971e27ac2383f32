"""What the driver says of GPUs, asked of the driver without a GPU (tests/boards/fake_cuda.c)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_driver
import pytest

from tvmkd.base import nvidia_driver
from tvmkd.base.errors import MissingError
from tvmkd.base.nvidia_driver import PTX, Gpu

ASK = """
import dataclasses, json
from tvmkd.base import nvidia_driver
from tvmkd.base.errors import MissingError
try:
    print(json.dumps([dataclasses.asdict(gpu) for gpu in nvidia_driver.gpus()]))
except MissingError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = fake_driver.built(tmp_path_factory.mktemp("driver"))
    return folder


def ask(driver: Path, **environment: str) -> Any:
    """What a process says that finds this driver."""
    env = {**os.environ, "LD_LIBRARY_PATH": os.fspath(driver), **environment}
    done = subprocess.run([sys.executable, "-c", ASK], env=env, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def test_a_gpu_is_described_by_its_driver(driver: Path) -> None:
    (found,) = ask(driver, FAKE_CUDA_CAPABILITY="87", FAKE_CUDA_VERSION="12060")
    gpu = Gpu(**{**found, "cuda": tuple(found["cuda"])})
    assert (gpu.name, gpu.arch, gpu.ptx) == ("Fake Tegra X1", "sm_87", "8.5")
    assert (gpu.registers_per_block, gpu.shared_per_block, gpu.warp) == (32768, 49152, 32)
    assert (gpu.multiprocessors, gpu.memory, gpu.integrated) == (1, 2**31, True)
    assert gpu.memory_gb_s == 25.6


def test_a_driver_that_does_not_work_is_named(driver: Path, tmp_path: Path) -> None:
    said = ask(driver, FAKE_CUDA_FAIL="cuInit:1:100")
    assert (
        said == "the NVIDIA driver does not work (cuInit: CUDA_ERROR_NO_DEVICE): see `nvidia-smi`"
    )
    (tmp_path / nvidia_driver.LIBRARY).write_bytes(b"no library")
    assert ask(tmp_path).startswith("no NVIDIA driver (libcuda.so.1): install one")


def test_the_ptx_of_a_driver_between_two_known_ones() -> None:
    gpu = Gpu("x", 87, 0, 1, 1, 1, 1, 32, 0.0, False, (12, 6))
    versions = [replace(gpu, cuda=cuda).ptx for cuda in ((12, 6), (13, 0), (99, 1), (7, 0))]
    assert versions == ["8.5", "9.0", PTX[max(PTX)], "5.0"]


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia_driver, "LIBRARY", "libno-such-driver.so.1")
    with pytest.raises(MissingError, match="no NVIDIA driver"):
        nvidia_driver.gpus()
