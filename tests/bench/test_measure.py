from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_process
import fake_smi
import numpy as np
import pytest
import toys

from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.bench import CompareOptions, Comparison, EngineSpec, compare, measure, rules, session
from tvmkd.tensorrt import device

KIND = "bench.engines_for_tests:Matmul"
QUICK = CompareOptions(threads=1, seconds=0.1, rounds=2, processes=1, warmup_limit=0.2)


def _fake(name: str, **options: Any) -> EngineSpec:
    return EngineSpec(name, KIND, options=options)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What `compare` asks of engine processes that are not there."""
    toys.onnx_file(tmp_path / "m.onnx", shape=("n", 8))
    monkeypatch.chdir(tmp_path)
    return fake_process.plant(monkeypatch)


def _compared(*specs: EngineSpec, **options: Any) -> Comparison:
    method = CompareOptions(**{"threads": 1, "dims": {"n": 1}, "processes": 1, **options})
    return compare(specs, "m.onnx", options=method)


def _turns(log: list[tuple[Any, ...]]) -> str:
    return " ".join(call[1] for call in log if call[0] == "time")


def test_engines_take_turns_in_both_orders(log: list[tuple[Any, ...]]) -> None:
    _compared(*map(fake_process.engine, "abc"), rounds=4)
    assert _turns(log) == "a b c c b a a b c c b a"


def test_an_odd_number_of_rounds_is_made_even(log: list[tuple[Any, ...]]) -> None:
    made = _compared(*map(fake_process.engine, "ab"), rounds=3)
    assert _turns(log) == "a b b a a b b a"
    assert made.method.rounds == 4


def test_the_seconds_are_shared_out_to_the_rounds(log: list[tuple[Any, ...]]) -> None:
    _compared(fake_process.engine("a"), fake_process.engine("b", call_s=0.01), seconds=4, rounds=4)
    asked = {call[1]: call[2:] for call in log if call[0] == "time"}
    assert asked == {"a": (1000, 4.0), "b": (100, 4.0)}


def test_each_build_gets_its_share_and_as_many_calls_as_the_slowest(
    log: list[tuple[Any, ...]],
) -> None:
    built = fake_process.engine("a", rebuild=True, call_s=[0.002, 0.001])
    _compared(built, fake_process.engine("b"), seconds=4, rounds=4, builds=2)
    asked = {call[1]: call[2:] for call in log if call[0] == "time"}
    assert asked == {"a (build 1)": (250, 2.0), "a (build 2)": (250, 2.0), "b": (1000, 4.0)}
    assert _turns(log).startswith("a (build 1) a (build 2) b b a (build 2) a (build 1)")


def test_very_quick_engines_make_a_limited_number_of_calls(log: list[tuple[Any, ...]]) -> None:
    _compared(fake_process.engine("a", call_s=1e-6), seconds=4, rounds=4)
    (count,) = {call[2] for call in log if call[0] == "time"}
    assert count == session.MOST_SAMPLES // 4


def test_the_reference_is_the_model_without_optimisation(log: list[tuple[Any, ...]]) -> None:
    made = _compared(fake_process.engine("a"))
    assert log[0] == ("start", "reference", Path("m.onnx"), {"optimization": "disabled"})
    assert made.method.reference.endswith("graph optimisations off, m.onnx")
    log.clear()
    made = _compared(fake_process.engine("a"), reference=Path("fp32.onnx"))
    assert log[0][2] == Path("fp32.onnx")
    assert made.method.reference.endswith(", fp32.onnx")


def test_limits_and_tolerance_are_those_of_the_options(log: list[tuple[Any, ...]]) -> None:
    wrong = fake_process.engine("a", off=0.1)
    made = _compared(wrong, warmup_limit=7.0, prepare_timeout=8.0, tolerance=0.5, seed=3)
    assert ("warm_up", "a", 7.0) in log
    assert ("prepare", "a", measure.SAMPLES, 8.0) in log
    assert made.engines[0].tolerance == 0.5
    assert made.method.seed == 3
    assert [item.why for item in _compared(wrong).left_out] == ["disagrees"]


def test_an_engine_that_fails_is_left_out_and_the_others_go_on(log: list[tuple[Any, ...]]) -> None:
    made = _compared(
        fake_process.engine("a"),
        fake_process.engine("b", fails_at=1),
        fake_process.engine("c", fails_in="prepare"),
        fake_process.engine("d", fails_in="facts"),
        rounds=4,
    )
    assert _turns(log) == "a b d d b a a d d a"
    assert [engine.name for engine in made.engines] == ["a"]
    assert {item.name: item.reason for item in made.left_out} == {
        "b": "it crashed",
        "c": "it does not load",
        "d": "it says nothing",
    }
    assert log.index(("close", "b")) < max(
        number for number, call in enumerate(log) if call[0] == "time"
    )


def test_an_engine_that_must_run_ends_the_comparison(log: list[tuple[Any, ...]]) -> None:
    del log
    broken = fake_process.engine("b", fails_in="prepare")
    with pytest.raises(TvmkdError, match="engine b cannot run: it does not load"):
        _compared(fake_process.engine("a"), broken, all_or_none=True)
    wrong = fake_process.engine("c", off=0.1)
    made = _compared(fake_process.engine("a"), wrong, all_or_none=True)
    assert [item.why for item in made.left_out] == ["disagrees"]


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
        options=replace(QUICK, budget_ms=3.0),
        progress=lambda event, data: told.append((event, data)),
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
    assert slow.min <= slow.ci95[0] <= slow.p50 <= slow.ci95[1]
    assert slow.ci95[1] <= slow.max * (1 + 1e-12)  # it comes from a logarithm
    assert slow.p50 <= slow.p99 <= slow.max
    assert slow.threads == 1
    assert len(slow.facts["cpus"]) == 1


def test_the_verdict_and_the_budget(result: Comparison) -> None:
    assert result.verdict.fastest == "onnxruntime"
    # Whether it is decided depends on what else this machine does meanwhile.
    assert (pair := result.verdict.pairs[0]).name == "slow"
    assert pair.ratio > 2
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
    made = compare([_fake("fake")], onnx, given, options=QUICK)
    assert made.method.seed is None
    assert made.method.samples_checked == 2
    assert made.engine("fake") is not None


def test_dynamic_sizes(tmp_path: Path) -> None:
    path = toys.onnx_file(tmp_path / "dynamic.onnx", shape=("n", 8))
    made = compare([_fake("fake")], path, options=QUICK)
    assert made.model.inputs[0].shape == [1, 8]
    made = compare([_fake("fake")], path, options=replace(QUICK, dims={"n": 3}))
    assert made.model.inputs[0].shape == [3, 8]


def test_a_model_that_ignores_its_input_is_pointed_out(onnx: Path, tmp_path: Path) -> None:
    same = [{"x": np.zeros((1, 8), np.float32)}] * 2
    made = compare([_fake("fake")], onnx, same, options=QUICK)
    assert any("same outputs for every input" in text for text in made.warnings)
    made = compare([_fake("fake")], onnx, options=QUICK)
    assert not any("same outputs" in text for text in made.warnings)


def test_a_reference_without_numbers_is_refused(tmp_path: Path) -> None:
    path = toys.onnx_file(tmp_path / "log.onnx", operator="Log")
    with pytest.raises(InputError, match="NaN or infinity on sample 0"):
        compare([_fake("fake")], path, options=QUICK)


def test_each_build_is_timed_and_what_they_differ_by_counts(onnx: Path) -> None:
    told: list[str] = []
    built = {"rebuild": True, "sleep_ms": [4, 8, 4], "off": [0.0, 0.0, 0.5]}
    made = compare(
        [_fake("built", **built), _fake("whole", sleep_ms=5)],
        onnx,
        options=replace(QUICK, builds=3),
        progress=lambda event, data: told.append(data["engine"]) if event == "check" else None,
    )
    assert told == ["built (build 1)", "built (build 2)", "built (build 3)", "whole"]
    (left,) = made.left_out
    assert (left.name, left.why) == ("built", "disagrees")
    assert left.reason.startswith("build 3: ")
    engine, whole = made.engine("built"), made.engine("whole")
    assert engine is not None
    assert whole is not None
    assert made.method.builds == 3
    quick, slow = engine.builds
    assert quick.p50 < 8 <= slow.p50
    assert (quick.engine_seconds, slow.engine_seconds, engine.engine_seconds) == (1.0, 2.0, 2.0)
    assert whole.builds == []
    # A round holds the calls of both builds, one after the other.
    both = zip(quick.round_sizes, slow.round_sizes, strict=True)
    assert engine.round_sizes == [sum(sizes) for sizes in both]
    first = quick.round_sizes[0]
    assert min(engine.samples_ms[:first]) < 8
    assert min(engine.samples_ms[first : engine.round_sizes[0]]) >= 8
    (pair,) = made.verdict.pairs
    assert not pair.decided, "two builds that far apart say nothing of a third"


def test_an_engine_that_lacks_something_lacks_it_in_every_build(onnx: Path) -> None:
    specs = [EngineSpec("torch", "torch", options={"rebuild": True}), _fake("fake")]
    made = compare(specs, onnx, options=replace(QUICK, builds=3))
    (left,) = made.left_out
    assert (left.name, left.why) == ("torch", "missing")
    assert not left.reason.startswith("build")


def test_the_gpu_is_read_between_the_rounds(
    onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_smi.plant(tmp_path, monkeypatch)
    found = device.Gpu("Fake GPU", "8.6", "550.54.15", fake_smi.UUID)
    monkeypatch.setattr(measure.device, "find", lambda: found)
    monkeypatch.setattr(rules, "device", lambda spec: "GPU" if spec.name == "a" else "CPU")
    made = compare([_fake("a"), _fake("b", sleep_ms=1)], onnx, options=QUICK)
    assert made.context.gpu is not None
    assert made.context.gpu.name == "NVIDIA Stand-in"
    # Before, after each of two rounds, and after it all.
    assert made.context.gpu.sm_mhz == [345.0, 1980.0, 1980.0, 1980.0]
    assert made.context.clocks_locked is False
    assert made.method.cuda_graph is False
    assert "These are not the same device: a on the GPU, b on the CPU." in made.verdict.sentence
    assert any("unlocked (345 to 1980 MHz)" in text for text in made.warnings)


def test_without_an_engine_on_a_gpu_none_is_read(result: Comparison) -> None:
    assert (result.context.gpu, result.context.clocks_locked) == (None, None)
    assert result.method.cuda_graph is None
    onnxruntime = result.engine("onnxruntime")
    assert onnxruntime is not None
    assert (onnxruntime.device, onnxruntime.tolerance) == ("CPU", 2e-3)
    assert (onnxruntime.peak_rss_bytes or 0) > 1e6


def test_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"m\.onnx: ONNX Runtime cannot load it") as caught:
        compare([_fake("fake")], path, options=QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("specs", "changes", "message"),
    [
        ([], {}, "no engines"),
        ([_fake("a"), _fake("a")], {}, "two engines are called 'a'"),
        ([EngineSpec("a", "tensorflow")], {}, 'no engine "tensorflow"'),
        ([EngineSpec("a", KIND, precision="fp8")], {}, "'fp8' is not one of"),
        ([_fake("a")], {"threads": 10_000}, "10000 threads on"),
        ([_fake("a")], {"threads": -1}, "-1 threads on"),
        ([_fake("a")], {"seconds": 0}, "above zero"),
        ([_fake("a")], {"rounds": -2}, "above zero"),
        ([_fake("a")], {"budget_ms": 0.0}, "above zero"),
        ([_fake("a")], {"builds": 0}, "above zero"),
        ([_fake("a")], {"builds": 3}, "3 builds of nothing: a are not built here"),
        ([_fake("a")], {"cuda_graph": True}, "no engine here runs on a GPU"),
    ],
)
def test_calls_that_make_no_sense(
    onnx: Path, specs: list[EngineSpec], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compare(specs, onnx, options=replace(QUICK, **changes))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        compare([_fake("a")], tmp_path / "none.onnx", options=QUICK)
