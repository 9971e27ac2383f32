from __future__ import annotations

import pytest
import samples

from tvmkd.base.errors import GateFailure, UsageError
from tvmkd.bench import gate


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


@pytest.mark.parametrize(
    ("expression", "column", "problem"),
    [
        ("tvm.p99 20ms", 8, "expected one of < <= > >="),
        ("tvm.p99 <", 9, "ends where a figure"),
        ("", 0, "ends where a figure"),
        ("   ", 0, "ends where a figure"),
        ("tvm.p99", 7, "ends where one of < <= > >="),
        ("tvm.p98 < 20ms", 4, "expected ENGINE.FIGURE with one of p50"),
        ("p99 < 20ms", 0, "expected ENGINE.FIGURE"),
        ("tvm.p99 < 20", 10, "a number cannot be compared with a time (it has no unit)"),
        ("tvm.p99 < 20 parsecs", 13, "unknown unit"),
        ("tvm.p99 < 4MB", 10, "a size cannot be compared with a time"),
        ("tvm.p99 == 20ms", 8, "this is not part of a requirement"),
        ("tvm.p99 < 20ms < 30ms", 15, "expected the end"),
        ("tvm.p99 < 20ms; rm", 14, "this is not part"),
        ("tvm.p50 * onnxruntime.p50 < 1ms", 8, "only a number may be multiplied"),
        ("1ms < 2ms", 0, "names no engine"),
        ("< 20ms", 0, "expected a figure"),
        ("  tvm.p98 < 20ms", 6, "expected ENGINE.FIGURE"),
    ],
)
def test_what_does_not_parse_is_pointed_at(expression: str, column: int, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        gate.parse(expression)
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith("gate: ")
    assert problem in first
    assert shown == f"  {expression}"
    assert caret.index("^") - 2 == column


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


def test_enforce_names_every_failure_and_only_those() -> None:
    checks = gate.evaluate(samples.five(), ["tvm.p99 < 1us", "tvm.p99 < 1s", "torch.p50 < tvm.p50"])
    with pytest.raises(GateFailure) as caught:
        gate.enforce(checks)
    assert "tvm.p99 < 1us" in str(caught.value)
    assert "torch.p50 < tvm.p50" in str(caught.value)
    assert "1s" not in str(caught.value)
    gate.enforce(check for check in checks if check.holds)
