"""A comparison on a board: a local server stands in, and once an emulated Nano."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import pytest

from tvmkd import targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.bench import CompareOptions, EngineSpec, compare, gate
from tvmkd.bench.schema import Comparison
from tvmkd.boards import emulate
from tvmkd.boards.fleet import Fleet, local_fleet
from tvmkd.stacks.client import StackClient

pytestmark = [pytest.mark.rpc, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, relax_stack: StackClient) -> Path:
    """A model with artifacts for this machine and for a Nano."""
    made = tmp_path_factory.mktemp("built")
    model = graphs.separable(made / "m.onnx")
    for name in ("host", "jetson-nano"):
        relax_stack.build(model, targets.load(name).to_dict(), [], made / name)
    return made


@pytest.fixture
def address(fleet: Fleet) -> dict[str, Any]:
    return fleet.address()


def on_board(name: str, path: Path, address: dict[str, Any]) -> EngineSpec:
    return EngineSpec(name, "tvm@board", path, options={"tracker": address})


def test_two_engines_take_turns_on_one_board(folder: Path, address: dict[str, Any]) -> None:
    specs = [on_board(name, folder / "host", address) for name in ("tvm", "again")]
    options = CompareOptions(seconds=0.3, rounds=2, warmup_limit=1.0)
    result = compare(specs, folder / "m.onnx", options=options)
    assert result.left_out == []
    assert [engine.name for engine in result.engines] == ["tvm", "again"]
    assert all(engine.relative_error < 1e-4 for engine in result.engines)
    assert all(engine.threads == 1 for engine in result.engines)
    assert result.context.board is not None
    assert result.context.emulated is False
    assert "by the board's own clock" in result.method.measured
    assert all(check.holds for check in gate.evaluate(result, ["tvm.p50 < 10s"]))


def test_here_and_there_are_not_compared(folder: Path, address: dict[str, Any]) -> None:
    specs = [
        on_board("tvm", folder / "host", address),
        EngineSpec("onnxruntime", "onnxruntime", folder / "m.onnx"),
    ]
    with pytest.raises(UsageError, match=r"tvm run on a board and onnxruntime here"):
        compare(specs, folder / "m.onnx")


@pytest.mark.board
@pytest.mark.skipif(emulate.why_not() is not None, reason=str(emulate.why_not()))
def test_emulated_times_are_marked_everywhere_and_pass_no_gate(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tvmkd import cli

    nano = targets.load("jetson-nano")
    out, page = tmp_path / "result.json", tmp_path / "report.html"
    with emulate.emulated_fleet(nano, 1, "nano") as board:
        argv = ["compare", folder / "m.onnx", "--artifact", folder / "jetson-nano"]
        argv += ["--rpc-tracker", f"{board['host']}:{board['port']}", "--rpc-key", "nano"]
        argv += ["--seconds", "0.2", "--rounds", "2", "-o", out, "--report", page]
        assert cli.execute([str(word) for word in argv]) == 0
    shown = capfd.readouterr()
    assert "emulated" in (shown.out + shown.err)
    result = Comparison.load(out)
    assert result.context.emulated
    assert result.context.machine == "aarch64"
    assert "whose times mean nothing" in result.verdict.sentence
    assert any("EMULATED" in warning for warning in result.warnings)
    assert page.read_text().count("mulated") >= 3
    with pytest.raises(InputError, match="made on an emulated board"):
        gate.evaluate(result, ["tvm.p99 < 20ms"])
    assert gate.evaluate(result, ["tvm.size < 100MB"])[0].holds
    assert json.loads(out.read_text())["context"]["emulated"] is True


def test_a_key_with_two_boards_or_nothing_to_run_is_said(
    folder: Path, capfd: pytest.CaptureFixture[str], fleet: Fleet
) -> None:
    from tvmkd import cli

    def error(*more: str) -> tuple[int, str]:
        argv = ["compare", str(folder / "m.onnx"), "--rpc-tracker", at, "--rpc-key", key, *more]
        code = cli.execute(argv)
        return code, capfd.readouterr().err.strip().splitlines()[-1]

    with local_fleet(2, "pair", threads=1) as pair:
        at, key = f"{pair['host']}:{pair['port']}", "pair"
        code, line = error("--artifact", str(folder / "host"))
    assert (code, "2 boards have the key 'pair'" in line) == (4, True)
    at, key = f"{fleet.host}:{fleet.port}", fleet.key
    assert error() == (
        4,
        "tvmkd: error: nothing to run on the board: give --artifact (or --untuned)",
    )
    code, line = error("--engine", "onnxruntime")
    assert (code, "engine onnxruntime cannot run on a board" in line) == (2, True)
