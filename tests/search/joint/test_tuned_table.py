"""How far kernels are tuned, read from the records, and what tuning took."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tvmkd.search.joint.protocols import Progress, Spent, Tunable
from tvmkd.search.joint.tuned_table import TunedTable
from tvmkd.search.latency.prediction import Kernel
from tvmkd.tuning.records import TRIALS

A, B, C = "0x000000000000000a", "0x000000000000000b", "0x000000000000000c"


class Table:
    """The part of a `LatencyTable` that tunes: every trial takes a microsecond."""

    def __init__(self, path: Path, exact: bool = False) -> None:
        self.path, self.exact = path, exact
        self.calls: list[Any] = []
        self.empty = False
        self.seconds = 0.0
        (path / TRIALS).write_text(
            "".join(
                json.dumps(self.line(*each)) + "\n"
                for each in [(A, 5e-6), (A, None), (A, 4e-6), (A, 7e-6), (B, None)]
            )
        )

    def line(self, task: str, figure: float | None) -> dict[str, Any]:
        status = "ok" if figure is not None else "run_error"
        return {"task": task, "key": "k", "status": status, "figure": figure, "t": 1.0,
                "board": "b", "wall": 0.1}  # fmt: skip

    def read_drift(self, every: float = 0.0) -> None:
        self.calls.append("drift")
        self.seconds += 1.0

    def files(self, keys: Mapping[str, float]) -> list[Path]:
        return [Path(f"{key}.onnx") for key in keys]

    def tune(
        self, models: Sequence[Path], weights: Mapping[str, float], trials: int, **options: Any
    ) -> float:
        self.calls.append((list(models), dict(weights), trials, options["seed"]))
        with (self.path / TRIALS).open("a") as file:
            for key in weights:
                file.write(json.dumps(self.line(key, 1e-6)) + "\n")
        self.seconds += 10.0
        return 10.0

    def holds_times(self) -> bool:
        return not self.empty

    def predict(self, kernels: Any) -> Any:
        return ("predicted", kernels)


def tuned(path: Path, **kind: Any) -> tuple[TunedTable, Table]:
    table = Table(path, **kind)
    return TunedTable(table, 7, clock=lambda: table.seconds), table  # type: ignore[arg-type]


def test_is_tunable(tmp_path: Path) -> None:
    made, _ = tuned(tmp_path)
    assert isinstance(made, Tunable)
    assert made.predict([]) == ("predicted", [])  # type: ignore[comparison-overlap]


def test_an_empty_table_guesses_and_is_unsure(tmp_path: Path) -> None:
    made, table = tuned(tmp_path)
    table.empty = True
    found = made.predict([Kernel(A, "a", "conv2d", 2, 1e6), Kernel(B, "b", "conv2d", 1, 1e4)])
    assert found.seconds == pytest.approx(2 * 101e-6 + 2e-6)
    assert found.interpolated == 1
    assert found.low < found.seconds / 2 < found.seconds * 2 < found.high


def test_progress_counts_failed_trials_too(tmp_path: Path) -> None:
    made, _ = tuned(tmp_path)
    assert made.progress("0xA") == Progress(4, 5e-6, 4e-6)
    assert made.progress(B) is None
    assert made.progress(C) is None


def test_tunes_and_counts_seconds_and_trials(tmp_path: Path) -> None:
    made, table = tuned(tmp_path)
    assert made.tune({A: 2.0, C: 1.0}, 16) == Spent(11.0, 2)
    assert table.calls == [
        "drift",
        ([Path(f"{A}.onnx"), Path(f"{C}.onnx")], {A: 2.0, C: 1.0}, 16, 7),
    ]
    assert made.progress(A) == Progress(5, 5e-6, 1e-6)
    assert made.progress(C) == Progress(1, 1e-6, 1e-6)


def test_instructions_have_no_drift(tmp_path: Path) -> None:
    made, table = tuned(tmp_path, exact=True)
    assert made.tune({A: 1.0}, 1).board_seconds == 10.0
    assert "drift" not in table.calls


def test_after_a_board_went_away_what_was_measured_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, table = tuned(tmp_path)
    assert made.progress(C) is None
    tune = table.tune

    def leaving(*given: Any, **options: Any) -> float:
        tune(*given, **options)
        raise ConnectionError

    monkeypatch.setattr(table, "tune", leaving)
    with pytest.raises(ConnectionError):
        made.tune({C: 1.0}, 1)
    assert made.progress(C) == Progress(1, 1e-6, 1e-6)
