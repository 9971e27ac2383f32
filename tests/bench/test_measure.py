from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
import toys

from tvmkd.bench import Comparison, EngineSpec, compare, measure
from tvmkd.errors import InputError, UsageError

KIND = "bench.engines_for_tests:Matmul"
QUICK: dict[str, Any] = {"threads": 1, "seconds": 0.1, "rounds": 2, "warmup_limit": 0.2}


def _fake(name: str, **options: Any) -> EngineSpec:
    return EngineSpec(name, KIND, options=options)


@pytest.fixture(scope="module")
def result(onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """One comparison with something of everything, looked at by several tests."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    told: list[tuple[str, dict[str, Any]]] = []
    made = compare(
        [
            EngineSpec("onnxruntime", "onnxruntime", onnx),
            _fake("slow", sleep_ms=5),
            _fake("wrong", off=0.5),
            _fake("crashes", crash_on_call=30),
            EngineSpec("torch", "torch"),
        ],
        onnx,
        budget_ms=3.0,
        progress=lambda event, data: told.append((event, data)),
        **QUICK,
    )
    patch.undo()
    assert [data["engine"] for event, data in told if event == "check"] == [
        *("onnxruntime", "slow", "wrong", "crashes", "torch")
    ]
    assert [data["round"] for event, data in told if event == "round"] == [0, 1]
    return made


def test_figures_are_those_of_the_raw_samples(result: Comparison) -> None:
    slow = result.engine("slow")
    assert slow is not None
    assert sum(slow.round_sizes) == len(slow.samples_ms) >= 10
    assert slow.min >= 5.0
    assert slow.p50 == pytest.approx(float(np.median(slow.samples_ms)))
    assert slow.min <= slow.ci95[0] <= slow.p50 <= slow.ci95[1] <= slow.max
    assert slow.p50 <= slow.p99 <= slow.max
    assert slow.threads == 1
    assert len(slow.facts["cpus"]) == 1


def test_the_verdict_and_the_budget(result: Comparison) -> None:
    assert result.verdict.fastest == "onnxruntime"
    assert result.verdict.pairs[0].decided
    assert result.budget is not None
    assert result.budget.model_ms == 3.0


def test_whoever_is_left_out_has_a_reason(result: Comparison) -> None:
    reasons = {item.name: (item.why, item.reason) for item in result.left_out}
    assert reasons["wrong"][0] == "disagrees"
    assert "off by 0.5" in reasons["wrong"][1]
    assert reasons["crashes"][0] == "failed"
    assert "SIGABRT" in reasons["crashes"][1]
    assert reasons["torch"][0] == "missing"
    assert "--checkpoint" in reasons["torch"][1]
    assert [engine.name for engine in result.engines] == ["onnxruntime", "slow"]


def test_it_says_how_it_was_done(result: Comparison, onnx: Path) -> None:
    assert result.method.seed == 0
    assert result.method.samples_checked == 3
    assert len(result.method.pinned_cpus) == 1
    assert result.model.path == str(onnx)
    assert result.model.inputs[0].shape == [1, 8]
    assert result.context.versions["onnxruntime"]
    assert any("few for a p99" in text for text in result.warnings)


def test_it_survives_a_file(result: Comparison, tmp_path: Path) -> None:
    result.save(tmp_path / "r.json")
    assert Comparison.load(tmp_path / "r.json") == result


def test_given_inputs_are_what_is_run(onnx: Path) -> None:
    given = [{"x": np.full((1, 8), value, np.float32)} for value in (0.5, -1.0)]
    made = compare([_fake("fake")], onnx, given, **QUICK)
    assert made.method.seed is None
    assert made.method.samples_checked == 2
    assert made.engine("fake") is not None


def test_dynamic_sizes(tmp_path: Path) -> None:
    path = toys.onnx_file(tmp_path / "dynamic.onnx", shape=("n", 8))
    with pytest.raises(InputError, match="--dim n=1"):
        compare([_fake("fake")], path, **QUICK)
    made = compare([_fake("fake")], path, dims={"n": 3}, **QUICK)
    assert made.model.inputs[0].shape == [3, 8]


def test_a_model_that_ignores_its_input_is_pointed_out(onnx: Path, tmp_path: Path) -> None:
    same = [{"x": np.zeros((1, 8), np.float32)}] * 2
    made = compare([_fake("fake")], onnx, same, **QUICK)
    assert any("same outputs for every input" in text for text in made.warnings)
    made = compare([_fake("fake")], onnx, **QUICK)
    assert not any("same outputs" in text for text in made.warnings)


def test_a_reference_without_numbers_is_refused(tmp_path: Path) -> None:
    path = toys.onnx_file(tmp_path / "log.onnx", operator="Log")
    with pytest.raises(InputError, match="NaN or infinity on sample 0"):
        compare([_fake("fake")], path, **QUICK)


def test_busy_neighbours_are_told_of_once() -> None:
    engines = [samples.engine("a", 1.0, other_cpu=0.5), samples.engine("b", 1.0, other_cpu=0.7)]
    quiet = samples.engine("c", 1.0, other_cpu=0.01)
    (warning,) = measure._warnings([*engines, quiet])
    assert "up to 0.70 CPUs while a, b ran" in warning
    assert measure._warnings([quiet]) == []


def test_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"m\.onnx: ONNX Runtime cannot load it") as caught:
        compare([_fake("fake")], path, **QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("specs", "changes", "message"),
    [
        ([], {}, "no engines"),
        ([_fake("a"), _fake("a")], {}, "two engines are called 'a'"),
        ([EngineSpec("a", "tensorflow")], {}, "no engine of kind 'tensorflow'"),
        ([EngineSpec("a", KIND, precision="fp8")], {}, "'fp8' is not one of"),
        ([_fake("a")], {"threads": 10_000}, "10000 threads on"),
        ([_fake("a")], {"threads": -1}, "-1 threads on"),
        ([_fake("a")], {"seconds": 0}, "above zero"),
        ([_fake("a")], {"rounds": -2}, "above zero"),
        ([_fake("a")], {"budget_ms": 0.0}, "above zero"),
    ],
)
def test_calls_that_make_no_sense(
    onnx: Path, specs: list[EngineSpec], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compare(specs, onnx, **{**QUICK, **changes})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        compare([_fake("a")], tmp_path / "none.onnx", **QUICK)
