"""The C runtime of standalone libraries for GPUs under gcc's sanitizers: ``cuda_stress.c``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import fake_driver
import pytest

from tvmkd.runtime.standalone_program import NATIVE
from tvmkd.stacks.standalone.cuda_library import CudaPackage

SOURCE = Path(__file__).with_name("cuda_stress.c")
FLAGS = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror"]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc: apt install gcc")


@pytest.fixture(scope="module", params=["thread", "address,undefined"])
def stress(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_driver.built(tmp_path_factory.mktemp("stress"))
    files = [SOURCE, *(NATIVE / f"{name}.c" for name in CudaPackage.runtime)]
    command = ["gcc", *FLAGS, f"-fsanitize={request.param}", "-fno-sanitize-recover=all"]
    command += [f"-I{NATIVE}", *map(os.fspath, files), *CudaPackage.libraries]
    out = folder / "program"
    done = subprocess.run([*command, "-o", os.fspath(out)], capture_output=True, text=True)
    if "cannot find" in done.stderr:
        pytest.skip("gcc has no sanitizers here: apt install gcc")
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("mode", ["graph", "launches", "managed"])
@pytest.mark.parametrize("case", ["threads", "handed_on", "options", "errors", "deadlines"])
def test_what_users_do(stress: Path, case: str, mode: str, tmp_path: Path) -> None:
    """Data races, overflows and leaks, also of the driver's things, end the program."""
    trace = tmp_path / "trace"
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": os.fspath(stress.parent),
        "FAKE_CUDA_COMPUTES": "1",
        "FAKE_CUDA_TRACE": os.fspath(trace),
        "TVMKD_CUDA": mode,
    }
    done = subprocess.run(
        [stress, case, "10"], capture_output=True, text=True, timeout=300, env=env
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr
    assert fake_driver.kept(trace) == {}
