from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.tuning import autoscheduler_log, records
from tvmkd.tuning.autoscheduler_log import LOG, candidate_key, task_key

KEY = '["9f4d07", [1, 8, 8, 64], [1, 1, 64, 64]]'


def line(number: int, seconds: list[float], failed: int = 0, workload: str = KEY) -> dict[str, Any]:
    """A line as upstream writes it; ``number`` tells the schedules apart."""
    steps = [["SP", 3, 0, 1, [1, 1, number], 1], ["PR", 3, 0, "auto_unroll_max_step$16"]]
    task = [workload, "llvm -keys=cpu", [2, 32, 64, 0, 0, 0, 0, 0], "", 2, []]
    return {"i": [task, [[], steps]], "r": [seconds, failed, 1.0, 1795559663], "v": "v0.6"}


def write(folder: Path, lines: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG).write_text("".join(json.dumps(each) + "\n" for each in lines))
    return folder


def test_a_line_is_read(tmp_path: Path) -> None:
    workload, task, key, seconds = autoscheduler_log.read(line(1, [1e-6, 3e-6]))
    assert workload == KEY
    assert task == task_key(KEY) == records.normal_key(task)
    assert key == candidate_key(line(1, [9.0])["i"][1][1]) != candidate_key(["other"])
    assert seconds == pytest.approx(2e-6)


def test_failed_trials_are_no_records(tmp_path: Path) -> None:
    folder = write(tmp_path, [line(1, [1e10], 6), line(2, [1e10]), line(3, [2e-6])])
    (record,) = records.load(folder)
    assert record.seconds == 2e-6
    assert record.record == line(3, [2e-6])
    assert records.holds_records(folder)
    assert records.native(folder) == [folder / LOG]


def test_best_over_folders_leaves_out_what_was_set_aside(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [line(1, [3e-6]), line(2, [1e-6])])
    b = write(tmp_path / "b", [line(3, [2e-6]), line(4, [5e-6], workload='["other"]')])
    found = records.best([a, b])
    assert [record.seconds for record in found[task_key(KEY)]] == [1e-6, 2e-6, 3e-6]
    records.set_aside(b, task_key(KEY), found[task_key(KEY)][0].key, "wrong")
    assert [record.seconds for record in records.best([a, b])[task_key(KEY)]] == [2e-6, 3e-6]


def test_compact_keeps_the_best_lines_as_they_are(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [line(1, [3e-6]), line(2, [1e-6]), line(3, [2e-6])])
    out = tmp_path / "out"
    assert records.compact([a], out, keep=2) == 2
    assert records.read_lines(out / LOG) == [line(2, [1e-6]), line(3, [2e-6])]
    assert sorted(path.name for path in out.iterdir()) == [LOG]


def test_a_torn_last_line_is_cut_off_and_another_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, [line(1, [1e-6]), line(2, [2e-6])])
    path = folder / LOG
    path.write_bytes(path.read_bytes()[:-30])
    assert len(records.load(folder)) == 1  # reading changes nothing
    assert records.repair(folder) == [f"{LOG}: a torn last line was cut off"]
    assert path.read_text() == json.dumps(line(1, [1e-6])) + "\n"
    path.write_text("{]\n" + path.read_text())
    with pytest.raises(InputError, match=f"{LOG}: line 1 is damaged"):
        records.load(folder)


@pytest.mark.parametrize("value", [{"i": 3}, [], {"i": [[1], [[], []]], "r": [[1.0], 0]}, {}])
def test_other_lines_are_no_log(tmp_path: Path, value: Any) -> None:
    folder = write(tmp_path, [value])
    with pytest.raises(InputError, match=r"autoscheduler.json: line 1 is no tuning record"):
        records.load(folder)
