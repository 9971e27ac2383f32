"""The records that ship: every kernel of the networks they are for has one, on any core count."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import by_path
import pytest
import relay_stack

from tvmkd import targets
from tvmkd.base.locks import Lock
from tvmkd.stacks.client import StackClient
from tvmkd.stacks.compile import build, shipped_records
from tvmkd.tuning import records

pytestmark = pytest.mark.usefixtures("warm_worker")

TARGET = targets.load("x86-64-v3")


NETWORKS: Any = by_path.module("benchmarks/_networks.py", "networks_of_the_benchmarks")
# Exporting and lowering takes most of a minute; the sidecar says the same of the other networks.
CASES = [("relax", "mobilenet_v3_small"), ("relay", NETWORKS.STUDENT)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for exported networks, which the processes of a parallel run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "networks"
    folder.mkdir(exist_ok=True)
    return folder


def exported(name: str, folder: Path) -> Path:
    with Lock(folder / f"{name}.lock", "exporting", "wait", wait=lambda _: None):
        found: Path = NETWORKS.onnx_file(name, folder)
    return found


def wider(target: targets.Target) -> dict[str, Any]:
    """A machine with another number of cores than the one the records were made on."""
    cores = target.tvm["num-cores"] + 2
    return dataclasses.replace(target, tvm={**target.tvm, "num-cores": cores}).to_dict()


def use(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if stack == "relay":
        monkeypatch.setenv("TVMKD_RELAY_PYTHON", relay_stack.relay_python())


@pytest.mark.slow
@pytest.mark.parametrize(("stack", "name"), CASES)
def test_every_kernel_of_a_network_has_a_record(
    stack: str, name: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(stack, monkeypatch)
    folder = shipped_records(TARGET, stack)
    assert folder is not None
    with StackClient(stack) as client:
        tasks = client.lower(exported(name, files), wider(TARGET))["tasks"]
    known = records.best([folder])
    assert len(tasks) > 10
    assert [task["name"] for task in tasks if records.normal_key(task["key"]) not in known] == []


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
def test_a_build_without_a_trial_is_tuned(name: str, files: Path, tmp_path: Path) -> None:
    target = targets.load(name)
    if target.runs_here() is not None:
        pytest.skip(f"{name}: {target.runs_here()}")
    onnx = exported(NETWORKS.STUDENT, files)
    target = targets.Target.from_dict(wider(target), where="the wider target")
    manifest = build(onnx, target, [], tmp_path / "out", stack="relax")
    assert manifest["coverage"]["tuned_share"] == 1.0, manifest["coverage"]["untuned"]
    assert manifest["check"]["max_error"] < 1e-4


# The stack, the target, and how many files were tuned: AVX2's first five networks were exported and
# tuned again.
ALL = len(NETWORKS.NETWORKS | NETWORKS.EDGE12)
SHIPPED = [
    ("relax", "x86-64-v3", len(NETWORKS.NETWORKS) + ALL),
    ("relax", "x86-64-v4", ALL),
    ("relay", "x86-64-v3", len(NETWORKS.NETWORKS)),
]


@pytest.mark.parametrize(("stack", "target", "_"), SHIPPED)
def test_no_record_that_ships_is_set_aside(stack: str, target: str, _: int) -> None:
    folder = shipped_records(targets.load(target), stack)
    assert folder is not None
    assert folder.name == target
    assert not records.aside(folder)
    assert len(records.best([folder])) >= 100


@pytest.mark.parametrize(("stack", "target", "networks"), SHIPPED)
def test_every_tuned_kernel_of_every_network_has_a_record(
    stack: str, target: str, networks: int
) -> None:
    folder = shipped_records(targets.load(target), stack)
    assert folder is not None
    tuned = json.loads((folder / records.SIDECAR).read_text())
    assert len(tuned["models"]) == networks
    known = records.best([folder])
    tasks = [task for task in tuned["tasks"] if task["trials"] > 0]
    assert [task["name"] for task in tasks if records.normal_key(task["key"]) not in known] == []
    assert len(tasks) == len(known)
