"""The records that ship: every kernel of the networks they are for has one, on any core count."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import relay_stack

from tvmkd import targets
from tvmkd.stacks.compile import build, shipped_records
from tvmkd.tuning import records

TARGET = targets.load("x86-64-v3")


def networks() -> Any:
    path = Path(__file__).parents[1] / "benchmarks" / "_networks.py"
    spec = importlib.util.spec_from_file_location("networks_of_the_benchmarks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NETWORKS = networks()
CASES = [
    pytest.param("relax", name, marks=[] if name == NETWORKS.STUDENT else [pytest.mark.slow])
    for name in NETWORKS.NETWORKS
]
CASES += [
    pytest.param("relay", name, marks=[pytest.mark.slow])
    for name in (NETWORKS.STUDENT, "mobilenet_v3_small", "resnet18")
]


@pytest.mark.skipif(TARGET.runs_here() is not None, reason=f"x86-64-v3: {TARGET.runs_here()}")
@pytest.mark.parametrize(("stack", "name"), CASES)
def test_a_build_without_a_trial_is_tuned(
    stack: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stack == "relay":
        monkeypatch.setenv("TVMKD_RELAY_PYTHON", relay_stack.relay_python())
    onnx = NETWORKS.onnx_file(name, tmp_path)
    # A machine with another number of cores than the one the records were made on.
    cores = TARGET.tvm["num-cores"] + 2
    target = dataclasses.replace(TARGET, tvm={**TARGET.tvm, "num-cores": cores})
    manifest = build(onnx, target, [], tmp_path / "out", stack=stack)
    assert manifest["coverage"]["tuned_share"] == 1.0, manifest["coverage"]["untuned"]
    assert manifest["check"]["max_error"] < 1e-4


@pytest.mark.parametrize("stack", ["relax", "relay"])
def test_no_record_that_ships_is_set_aside(stack: str) -> None:
    folder = shipped_records(TARGET, stack)
    assert folder is not None
    assert not records.aside(folder)
    assert len(records.best([folder])) >= 100
