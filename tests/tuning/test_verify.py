"""Wrong kernels are detected, and are not written to the records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_kernels
from grounds import Ground

from tvmkd.tuning import records
from tvmkd.tuning.verify import difference

MISTAKEN = {"tasks": ["matmul:64", "times:64"], "plant_wrong": True, "options": {"batch": 4}}


def right(dtype: type = np.float32) -> np.ndarray:
    """NHWC: boxes in pixels in the first two channels, scores in the third."""
    rng = np.random.default_rng(0)
    return (rng.uniform(0, 1, (1, 6, 6, 3)) * [640, 640, 1]).astype(dtype)


def test_a_wrong_channel_beside_large_ones_is_found() -> None:
    wanted = right()
    got = wanted.copy()
    got[..., 2] = 1 - got[..., 2]
    text = difference(wanted, got)
    assert text is not None
    assert text.startswith("its output differs from plain loops' by 0.00")
    assert "of its spread" in text


def test_a_wrong_signal_on_an_offset_is_found() -> None:
    wanted = 1000 + right() / 640
    assert difference(wanted, np.full_like(wanted, wanted.mean())) is not None


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_loops_in_another_order_agree(dtype: type) -> None:
    wanted = right(dtype)
    assert difference(wanted, np.nextafter(wanted, dtype(np.inf))) is None
    zeros = np.zeros_like(wanted)
    assert difference(zeros, zeros) is None
    assert difference(zeros, zeros + dtype(0.01)) is not None


def test_values_that_were_not_written_are_found() -> None:
    wanted = right()
    got = wanted.copy()
    got[0, 3, 3, 1] = np.nan
    text = "its output differs from plain loops' in where it is NaN or infinite"
    assert difference(wanted, got) == text
    assert difference(got, got) is None


@pytest.mark.parametrize(
    ("dtype", "step", "agrees"),
    [(np.int8, 1, True), (np.uint8, 1, True), (np.int8, 2, False), (np.int32, 1, False)],
)
def test_only_a_quantised_value_may_be_rounded_to_the_other_side(
    dtype: type, step: int, agrees: bool
) -> None:
    wanted = np.arange(60).reshape(1, 4, 15).astype(dtype)
    got = wanted.copy()
    got[0, 2, 7] += step
    text = difference(wanted, got)
    assert (text is None) is agrees
    assert agrees or "of its values" in str(text)


@pytest.mark.rpc
@pytest.mark.parametrize("ground", ["relay"], indirect=True)
def test_a_wrong_kernel_is_a_failed_trial_however_fast(tmp_path: Path, ground: Ground) -> None:
    found = tiny_kernels.events(ground.start(tmp_path, trials=12, **MISTAKEN))
    name, result = found[-1]
    assert name == "result", result
    assert result["errors"] == {"wrong_output": 1}
    assert [data["text"] for name, data in found if name == "note"] == []
    lines = records.read_lines(tmp_path / records.TRIALS)
    assert len(lines) == 12
    (wrong,) = (line for line in lines if line["status"] == "wrong_output")
    assert "differs from plain loops'" in wrong["error"]
    assert wrong["figure"] is None
    stored = records.load(tmp_path)
    assert len(stored) == 11
    assert (wrong["task"], wrong["key"]) not in {(record.task, record.key) for record in stored}
    first, _ = result["tasks"]
    best = min(record.seconds for record in stored if record.task == wrong["task"])
    assert first["best_us"] * 1e-6 == pytest.approx(best)
