"""A suite from network to network: what is kept, what is done again, and what is left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import samples
import toys

from tvmkd import targets
from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.bench import CompareOptions, schema
from tvmkd.suites import building, definition, networks, page, result, running
from tvmkd.suites.definition import Suite
from tvmkd.suites.running import Plan

HOST = targets.load("host")
PLAN = Plan("cpu", HOST, engines=("onnxruntime",))


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    text = ""
    for name in ("one", "two", "three"):
        toys.onnx_file(tmp_path / f"{name}.onnx")
        text += f'[[network]]\nname = "{name}"\nonnx = "{name}.onnx"\n'
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return definition.load(str(path))


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that were compared; ``fails`` are names that fail."""
    found: list[str] = []

    def compare(specs: Any, onnx: Path, **_: Any) -> schema.Comparison:
        found.append(onnx.stem)
        if onnx.stem in FAILS:
            raise TvmkdError("it is broken")
        return samples.comparison(*(samples.engine(spec.name, 1.0) for spec in specs))

    monkeypatch.setattr(running, "compare", compare)
    FAILS.clear()
    return found


FAILS: set[str] = set()


def states(found: result.Result) -> list[str]:
    return [entry.state for entry in found.networks]


def test_what_is_done_is_not_done_again(suite: Suite, compared: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    FAILS.add("two")
    told: list[list[str]] = []
    watcher = running.Watcher(changed=lambda found: told.append(states(found)))
    first = running.run(suite, PLAN, out, watcher)
    assert states(first) == ["done", "failed", "done"]
    assert first.networks[1].reason == "it is broken"
    assert told == [
        ["done", "left", "left"],
        ["done", "failed", "left"],
        ["done", "failed", "done"],
    ]
    FAILS.clear()
    assert states(running.run(suite, PLAN, out)) == ["done"] * 3
    assert compared == ["one", "two", "three", "two"]
    # Another method, or another model, is another comparison.
    other = dataclasses.replace(PLAN, options=dataclasses.replace(PLAN.options, seconds=1.0))
    running.run(suite, other, out)
    assert compared[4:] == ["one", "two", "three"]
    toys.onnx_file(tmp_path / "two.onnx", shape=(2, 8))
    running.run(suite, other, out)
    assert compared[7:] == ["two"]
    assert result.load(out).settings["seconds"] == 1.0


def test_a_run_that_is_killed_goes_on(
    suite: Suite, compared: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real = networks.prepare

    def killed(suite: Suite, network: definition.Network, folder: Path) -> networks.Prepared:
        if network.name == "two":
            raise KeyboardInterrupt
        return real(suite, network, folder)

    with monkeypatch.context() as patch:
        patch.setattr(networks, "prepare", killed)
        with pytest.raises(KeyboardInterrupt):
            running.run(suite, PLAN, out)
    assert states(result.load(out)) == ["done", "left", "left"]
    # A comparison that was cut off while it was written is none.
    (out / "one" / result.COMPARISON).write_text("{")
    assert states(running.run(suite, PLAN, out)) == ["done"] * 3
    assert compared == ["one", "one", "two", "three"]


def test_no_network_is_begun_that_would_end_too_late(
    suite: Suite, compared: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each network takes 50 seconds.
    monkeypatch.setattr(running.time, "monotonic", lambda: 50.0 * len(compared))
    found = running.run(suite, dataclasses.replace(PLAN, minutes=1.5), tmp_path / "out")
    assert states(found) == ["done", "left", "left"]
    assert found.networks[1].reason == "the 1.5 minutes were over"
    assert compared == ["one"]
    # The first of a call is begun however long others took: else it would never be.
    again = running.run(suite, dataclasses.replace(PLAN, minutes=0.1), tmp_path / "out")
    assert states(again) == ["done", "done", "left"]


def test_an_artifact_that_cannot_be_built_leaves_the_engine_out(
    suite: Suite, compared: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: Any, **__: Any) -> None:
        raise InputError("no such operator")

    monkeypatch.setattr(building.compiling, "build", build)
    plan = dataclasses.replace(PLAN, engines=("onnxruntime", "tvm:untuned"))
    running.run(suite, plan, tmp_path / "out")
    found = schema.Comparison.load(tmp_path / "out" / "one" / result.COMPARISON)
    assert [engine.name for engine in found.engines] == ["onnxruntime"]
    (left,) = found.left_out
    assert (left.name, left.why, left.reason) == ("tvm:untuned", "failed", "no such operator")
    with pytest.raises(TvmkdError, match="no such operator"):
        running._Run(
            suite, dataclasses.replace(plan, engines=("tvm:untuned",)), tmp_path, running.Watcher()
        )._compare(suite.networks[0])


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        ({"engines": ("onnxruntim",)}, UsageError, 'no engine "onnxruntim"'),
        ({"engines": ("tensorrt",)}, UsageError, "tensorrt does not run on the CPU: leave it out"),
        ({"device": "gpu"}, UsageError, "is for the cpu, and the device is gpu"),
        ({"records": (Path("/nowhere"),)}, InputError, "/nowhere: holds no tuning records"),
        ({"options": CompareOptions(threads=999)}, UsageError, "999 threads on "),
        ({"options": CompareOptions(cuda_graph=True)}, UsageError, "a CUDA graph is for --device"),
    ],
)
def test_what_is_refused_before_any_work(
    suite: Suite,
    compared: list[str],
    tmp_path: Path,
    change: dict[str, Any],
    error: type[TvmkdError],
    why: str,
) -> None:
    with pytest.raises(error, match=why):
        running.run(suite, dataclasses.replace(PLAN, **change), tmp_path / "out")
    assert compared == []
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_that_networks_fault(
    suite: Suite, compared: list[str], tmp_path: Path
) -> None:
    (tmp_path / "one.onnx").unlink()
    found = running.run(suite, PLAN, tmp_path / "out")
    assert states(found) == ["failed", "done", "done"]
    assert "there is no such file (network one)" in found.networks[0].reason


@pytest.mark.slow
def test_a_network_by_name_from_its_weights_to_the_page(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[network]]\nname = "small"\nmodel = "depthwise"\nshape = [1, 1, 32, 32]\n'
        '[[network]]\nname = "none"\nmodel = "torchvision:no_such_network"\nshape = [1, 3, 8, 8]\n'
    )
    options = dataclasses.replace(PLAN.options, seconds=0.1, rounds=2, processes=1, threads=1)
    plan = Plan("cpu", HOST, ("torch", "onnxruntime", "tvm:untuned"), options=options)
    out = tmp_path / "out"
    found = running.run(definition.load(str(path)), plan, out)
    assert states(found) == ["done", "failed"]
    assert "no_such_network" in found.networks[1].reason
    compared = schema.Comparison.load(out / "small" / result.COMPARISON)
    assert compared.left_out == []
    assert {engine.name for engine in compared.engines} == set(plan.engines)
    assert max(engine.relative_error for engine in compared.engines) < 1e-3
    text = page.write(found, out).read_text()
    assert "no_such_network" in text
    assert "aria-labelledby" in text
