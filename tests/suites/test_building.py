from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.suites import building
from tvmkd.suites.building import Wanted

HOST = targets.load("host")
GPU = dataclasses.replace(targets.load("jetson-nano-gpu"), name="cuda")


def silent(name: str, data: dict[str, Any]) -> None:
    del name, data


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The artifacts that were built: folder, and what they were built with."""
    found: list[tuple[str, dict[str, Any]]] = []

    def build(onnx: Path, target: Any, records: Any, out: Path, **more: Any) -> None:
        more.pop("on_event")
        found.append((out.name, {"target": target.name, "records": list(records), **more}))

    def tune(onnx: Path, target: Any, records: Path, **more: Any) -> None:
        found.append(("tune", {"trials": more["trials"], "records": records}))

    monkeypatch.setattr(building.compiling, "build", build)
    monkeypatch.setattr(building.compiling, "tune", tune)
    monkeypatch.setattr(building.compiling, "shipped_records", lambda target: None)
    return found


def test_without_records_there_is_no_tuned_artifact(built: list[Any], tmp_path: Path) -> None:
    made, (left,) = building.build(Wanted(HOST), tmp_path / "m.onnx", tmp_path, silent)
    assert made == {"tvm:untuned": tmp_path / "tvm-untuned"}
    assert (left.name, left.why) == ("tvm", "missing")
    assert left.reason == f"no kernel is tuned for {HOST.name}: give --records, or --trials"
    assert [name for name, _ in built] == ["tvm-untuned"]
    assert built[0][1] == {
        "target": HOST.name,
        "records": [],
        "shipped": False,
        "runtime": "tvm",
    }


def test_trials_come_first(built: list[Any], tmp_path: Path) -> None:
    wanted = Wanted(HOST, ("tvm",), (Path("r"),), trials=7)
    made, left = building.build(wanted, tmp_path / "m.onnx", tmp_path, silent)
    assert (list(made), left) == (["tvm"], [])
    own = built[0][1]["records"]
    assert built[0] == ("tune", {"trials": 7, "records": own})
    assert own.parent == tmp_path
    assert own.name.startswith(f"records-{HOST.name}-")
    assert built[1][1]["records"] == [Path("r"), own]


def test_on_a_gpu_they_are_standalone_and_tensorrt_has_the_cpu_beside(
    built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        building, "engine_class", lambda name: type("E", (), {"lacks_package": lambda _: None})
    )
    wanted = Wanted(GPU, (), (Path("r"),), precision="fp16")
    made, left = building.build(wanted, tmp_path / "m.onnx", tmp_path, silent)
    assert list(made) == ["tvm:untuned", "tvm", "tvm+tensorrt"]
    assert left == []
    assert [facts.get("runtime") for _, facts in built] == ["standalone", "standalone", None]
    assert built[2][1] == {
        "target": HOST.name,
        "records": [],
        "byoc": "tensorrt",
        "byoc_precision": "fp16",
    }


def test_what_fails_is_told_and_the_rest_is_built(
    built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **more: Any) -> None:
        if not more["shipped"]:
            raise InputError("no such operator")

    monkeypatch.setattr(building.compiling, "build", fails)
    wanted = Wanted(HOST, (), (Path("r"),))
    made, (left,) = building.build(wanted, tmp_path / "m.onnx", tmp_path, silent)
    assert list(made) == ["tvm"]
    assert (left.name, left.why, left.reason) == ("tvm:untuned", "failed", "no such operator")
