from __future__ import annotations

import pytest
import samples

from tvmkd.base.errors import InputError, UsageError
from tvmkd.bench import gate, schema


def _holds(expression: str) -> bool:
    (check,) = gate.evaluate(samples.five(), [expression])
    return check.holds


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("tvm.p99 < 20ms", True),
        ("tvm.p99 < 20 ms", True),
        ("tvm.p99<0.5ms", False),
        ("tvm.p50 > 500us", True),
        ("tvm.p50 > 500µs", True),
        ("tvm.p50 < 0.0001 s", False),
        ("tvm.p50 < onnxruntime.p50", True),
        ("onnxruntime.p50 < tvm.p50", False),
        ("onnxruntime.p50 <= 1.5 * tvm.p50", True),
        ("onnxruntime.p50 <= tvm.p50 * 1.1", False),
        ("2 * tvm.p50 >= torch.compile.p50", True),
        ("torch.compile.p95 < 0.5 * 10ms", True),
        ("tvm:untuned.p50 > 10 * tvm.p50", True),
        ("tvm.p99 < budget", True),
        ("torch.p99 < budget", False),
        ("torch.p99 < 2 * budget", True),
        ("20ms > tvm.p99", True),
        ("tvm.size < 4MB", True),
        ("tvm.size <= 1 MB", False),
        ("tvm.memory < 1GB", True),
        ("tvm.error < 1e-4", True),
        ("tvm.error < 1e-7", False),
        ("tvm.build < 1s", True),
    ],
)
def test_expressions(expression: str, holds: bool) -> None:
    assert _holds(expression) is holds


def test_the_edge_is_told_apart() -> None:
    p50 = samples.five().engines[0].p50
    assert _holds(f"tvm.p50 <= {p50!r}ms")
    assert not _holds(f"tvm.p50 < {p50!r}ms")
    assert _holds(f"tvm.p50 >= {p50!r}ms")
    assert not _holds(f"tvm.p50 > {p50!r}ms")


def test_an_engine_nobody_asked_for_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no engine 'tvn' in the comparison: it has tvm, onnx"):
        gate.evaluate(samples.five(), ["tvm.p99 < 20ms", "tvn.p99 < 20ms"])


def test_budget_without_one_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="without a budget"):
        gate.evaluate(samples.five(budget_ms=None), ["tvm.p99 < budget"])


def test_an_engine_that_was_left_out_fails_with_its_reason() -> None:
    (check,) = gate.evaluate(samples.five(), ["tvm.p50 < tensorrt.p50"])
    assert not check.holds
    assert "tensorrt was left out: tensorrt is not <installed>" in check.text


def test_text_has_the_figures() -> None:
    (check,) = gate.evaluate(samples.five(), ["torch.p99 < 1ms"])
    assert check.text.startswith("torch.p99 < 1ms: ")
    assert check.text.endswith("ms is not < 1 ms")


def test_medians_that_noise_could_turn_round_are_marked() -> None:
    made = samples.comparison(samples.engine("a", 1.0, seed=1), samples.engine("b", 1.0, seed=2))
    close, far = gate.evaluate(made, ["a.p50 < b.p50", "a.p50 < 2 * b.p50"])
    assert close.text.endswith("(within noise)")
    assert not far.text.endswith("(within noise)")


def test_figures_are_those_of_the_engine() -> None:
    engine = samples.engine(
        "a", 1.0, build_seconds=0.25, size_bytes=3_000_000, peak_rss_bytes=5_000_000
    )
    made = samples.comparison(engine, samples.engine("b", 2.0, size_bytes=None), budget_ms=4.0)

    def text(requirement: str) -> str:
        (check,) = gate.evaluate(made, [requirement])
        return check.text.removeprefix(f"{requirement}: ")

    assert text("a.build < 1s") == "250 ms is < 1000 ms"
    assert text("a.size > 4MB") == "3 MB is not > 4 MB"
    assert text("a.memory <= 5MB") == "5 MB is <= 5 MB"
    assert text("a.error < 1e-6") == "2e-06 is not < 1e-06"
    assert text("a.min < 2 * budget") == f"{engine.min:.4g} ms is < 8 ms"
    for figure in ("p50", "p90", "p95", "p99", "mean", "max"):
        assert text(f"2 * a.{figure} > 1ns").startswith(f"{2 * getattr(engine, figure):.4g} ms is")
    (check,) = gate.evaluate(made, ["b.size < 1MB"])
    assert (check.holds, check.text) == (False, "b.size < 1MB: b has no size")


@pytest.mark.parametrize(
    ("requirement", "noise"),
    [
        # The median of a over b's is between 1.9 and 2.1.
        ("a.p50 < 2 * b.p50", True),
        ("a.p50 < 1.9 * b.p50", True),
        ("a.p50 < 2.1 * b.p50", True),
        ("a.p50 < 1.89 * b.p50", False),
        ("a.p50 < 2.11 * b.p50", False),
        ("0.5 * a.p50 < b.p50", True),
        ("2 * a.p50 < b.p50", False),
        ("2 * a.p50 > 4 * b.p50", True),
        ("0 * a.p50 < b.p50", False),
        ("a.p50 < 2 * a.p50", False),
        ("a.p99 < 2 * b.p99", False),
        ("a.p50 < 2 * b.p99", False),
        ("a.p99 < 2 * b.p50", False),
        ("a.p50 < 2ms", False),
        ("a.p50 < budget", False),
    ],
)
def test_only_medians_within_their_noise_are_doubted(
    monkeypatch: pytest.MonkeyPatch, requirement: str, noise: bool
) -> None:
    def pair(ours: schema.Engine, theirs: schema.Engine) -> schema.Pair:
        assert (ours.name, theirs.name) == ("a", "b")
        return schema.Pair(name="a", against="b", ratio=2.0, ci95=(1.9, 2.1), decided=True)

    made = samples.comparison(samples.engine("a", 2.0), samples.engine("b", 1.0), budget_ms=2.0)
    monkeypatch.setattr(gate, "pair", pair)
    (check,) = gate.evaluate(made, [requirement])
    assert check.text.endswith(" (within noise)") is noise


def test_emulated_times_pass_no_gate_and_sizes_do() -> None:
    made = samples.five()
    context = made.context.model_copy(update={"emulated": True})
    made = made.model_copy(update={"context": context})
    with pytest.raises(InputError, match=r"'tvm\.p99 < 20ms': this comparison was made on an emul"):
        gate.evaluate(made, ["tvm.size < 4MB", "tvm.p99 < 20ms"])
    (check,) = gate.evaluate(made, ["tvm.size < 4MB"])
    assert check.holds


def test_the_wrong_name_is_pointed_at() -> None:
    with pytest.raises(UsageError) as caught:
        gate.evaluate(samples.five(), ["tvm.p50 < tvn.p50"])
    assert str(caught.value).split("\n")[2] == "  " + " " * 10 + "^"
    with pytest.raises(UsageError) as caught:
        gate.evaluate(samples.five(budget_ms=None), ["tvm.p50 < 2 * budget"])
    assert str(caught.value).split("\n")[2] == "  " + " " * 14 + "^"
    (check,) = gate.evaluate(samples.five(), ["tensorrt.p50 < 1s"])
    assert check.text == "tensorrt.p50 < 1s: tensorrt was left out: tensorrt is not <installed>"


def test_equality() -> None:
    p50 = samples.five().engines[0].p50
    assert _holds(f"tvm.p50 == {p50!r}ms")
    assert not _holds("tvm.p50 == 20ms")


def test_a_comparison_has_no_stream() -> None:
    with pytest.raises(InputError, match=r"has no result of a stream: give the stream\.json"):
        gate.evaluate(samples.five(), ["stream.misses == 0"])


def test_a_stream_has_no_engines() -> None:
    figures = gate.StreamFigures({"worst": 12.0, "misses": 0, "celsius": None}, 30.0)
    with pytest.raises(InputError, match="tvm is an engine"):
        gate.evaluate(figures, ["stream.worst < 2 * tvm.p50"])
    worst, budget, none = gate.evaluate(
        figures, ["stream.worst < 30ms", "2 * stream.worst < budget", "stream.celsius < 80"]
    )
    assert worst.text == "stream.worst < 30ms: 12 ms is < 30 ms"
    assert budget.holds
    assert (none.holds, none.text) == (False, "stream.celsius < 80: this board tells no celsius")
