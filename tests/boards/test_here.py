"""The GPU of this machine as a board, with a driver that computes PTX on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cuda_compilers
import fake_driver
import numpy as np
import onnxruntime
import pytest
import test_cuda

from tvmkd import targets
from tvmkd.boards import here

MISSING = cuda_compilers.missing()
pytestmark = [
    pytest.mark.rpc,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.built(tmp_path_factory.mktemp("driver"))


def tvmkd(driver: Path, *words: str, **environment: str) -> Any:
    """Runs a command where the driver is found; its JSON."""
    told = {"LD_LIBRARY_PATH": os.fspath(driver), "FAKE_CUDA_COMPUTES": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "tvmkd", *words, "--json"],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kernels_are_tuned_checked_and_loaded_on_this_machines_gpu(
    driver: Path, tmp_path: Path
) -> None:
    model, records = os.fspath(test_cuda.network(tmp_path / "m.onnx")), os.fspath(tmp_path / "r")
    goal = ("--target", "cuda", "--records", records)
    # More trials would train the cost model, and XGBoost's own CUDA would meet this driver.
    summary = tvmkd(driver, "tune", model, *goal, "--trials", "3")
    assert summary["trials"] == 3
    assert sum(summary["errors"].values()) <= 1  # a candidate of the search may fault
    # TVM's runtime: checked by the same server.
    manifest = tvmkd(driver, "build", model, *goal, "-o", os.fspath(tmp_path / "tvm"))
    assert manifest["check"]["max_error"] < 1e-4
    assert manifest["coverage"]["tuned"] > 0
    whole = ("--runtime", "standalone", "-o", os.fspath(tmp_path / "whole"))
    manifest = tvmkd(driver, "build", model, *goal, *whole)
    assert manifest["check"]["max_error"] < 1e-4
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    code = """
import sys, numpy as np, tvmkd
print(tvmkd.load(sys.argv[1])(np.load(sys.argv[2])).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "whole", tmp_path / "x.npy"],
        env={**os.environ, "LD_LIBRARY_PATH": os.fspath(driver), "FAKE_CUDA_COMPUTES": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    (want,) = onnxruntime.InferenceSession(model).run(None, {"x": x})
    np.testing.assert_allclose(json.loads(done.stdout), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "fault",
    [
        {"FAKE_CUDA_HANG": "1"},
        # A kernel that reads where nothing is: the context is lost, and the process with it.
        {"FAKE_CUDA_FAIL": "cuStreamSynchronize:3:700:sticky"},
        {"FAKE_CUDA_FAIL": "cuMemAlloc_v2:3:2"},
    ],
    ids=["hang", "sticky", "memory"],
)
def test_a_fault_ends_a_session_and_the_gpu_stays_usable(
    fault: dict[str, str], driver: Path, tmp_path: Path
) -> None:
    """The candidate is tried again in a session of its own, and there it is right."""
    model, records = os.fspath(test_cuda.product(tmp_path / "m.onnx")), os.fspath(tmp_path / "r")
    # A second trial of one kernel would train the cost model, see above.
    goal = ("--target", "cuda", "--records", records, "--trials", "1", "--timeout", "3")
    once = os.fspath(tmp_path / "once")
    summary = tvmkd(driver, "tune", model, *goal, FAKE_CUDA_ONCE=once, **fault)
    assert Path(once).exists()
    assert (summary["trials"], summary["errors"]) == (1, {})


@pytest.mark.parametrize(
    ("fault", "call"),
    [
        ({"FAKE_CUDA_MEMORY": "1000"}, "cuMemAlloc"),
        ({"FAKE_CUDA_FAIL": "cuDevicePrimaryCtxRetain:1:2"}, "cuDevicePrimaryCtxRetain"),
    ],
)
def test_a_gpu_whose_memory_is_full(
    fault: dict[str, str], call: str, driver: Path, tmp_path: Path
) -> None:
    model, records = os.fspath(test_cuda.product(tmp_path / "m.onnx")), os.fspath(tmp_path / "r")
    code = """
import sys
from pathlib import Path
from tvmkd import targets
from tvmkd.base.errors import MissingError
from tvmkd.boards import here
from tvmkd.stacks.client import StackClient
try:
    goal, options = targets.load("cuda"), {"board_wait": 4.0}
    with here.fleet(goal) as board, StackClient("relax") as stack:
        model, records = map(Path, sys.argv[1:])
        stack.tune(model, goal.to_dict(), records, trials=3, tracker=board, options=options)
except MissingError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, model, records],
        env={**os.environ, "LD_LIBRARY_PATH": os.fspath(driver), **fault},
        capture_output=True,
        text=True,
    )
    wanted = f"fails: its GPU has not 64 MiB for kernels ({call}: CUDA_ERROR_OUT_OF_MEMORY)"
    assert wanted in done.stdout, done.stderr
    # No candidate is to blame.
    assert not (Path(records) / "trials.jsonl").exists()


def test_two_processes_share_a_gpu(driver: Path, tmp_path: Path) -> None:
    model = os.fspath(test_cuda.product(tmp_path / "m.onnx"))
    goal = ("--target", "cuda", "--trials", "1", "--records")
    words = [sys.executable, "-m", "tvmkd", "tune", model, *goal]
    env = {**os.environ, "LD_LIBRARY_PATH": os.fspath(driver), "FAKE_CUDA_COMPUTES": "1"}
    both = [
        subprocess.Popen([*words, tmp_path / name, "--json"], env=env, stdout=subprocess.PIPE)
        for name in ("a", "b")
    ]
    found = [json.loads(each.communicate(timeout=200)[0]) for each in both]
    assert [(each["trials"], each["errors"]) for each in found] == [(1, {})] * 2


def test_a_target_of_another_machine_has_no_boards_here() -> None:
    assert "aarch64" in str(here.why_not(targets.load("jetson-nano-gpu")))
    assert here.why_not(targets.load("host")) is None
