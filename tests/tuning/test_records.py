from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.tuning import records
from tvmkd.tuning.space import candidate_key

ONE, TWO = "0x" + "0" * 15 + "1", "0x" + "0" * 15 + "2"


def trace(number: int) -> list[Any]:
    return [[["Split", ["l0"], [number], []]], []]


def write(folder: Path, entries: list[tuple[int, int, float]]) -> Path:
    """A folder of records: ``(workload's hash, trace number, seconds)``."""
    folder.mkdir(parents=True, exist_ok=True)
    hashes = sorted({entry[0] for entry in entries})
    workloads = "".join(json.dumps([str(value), "bW9k"]) + "\n" for value in hashes)
    (folder / records.WORKLOADS).write_text(workloads)
    lines = [
        [hashes.index(value), [trace(number), [seconds], {"kind": "llvm"}, []]]
        for value, number, seconds in entries
    ]
    (folder / records.RECORDS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_best_sorts_and_merges_folders(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [(1, 1, 3e-6), (1, 2, 1e-6), (2, 1, 5e-6)])
    b = write(tmp_path / "b", [(1, 3, 2e-6)])
    found = records.best([a, b])
    assert [record.seconds for record in found[ONE]] == [1e-6, 2e-6, 3e-6]
    assert found[ONE][0].key == candidate_key(trace(2))
    assert found[TWO][0].folder == a


def test_what_is_set_aside_in_one_folder_is_used_from_none(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [(1, 1, 3e-6), (1, 2, 1e-6)])
    b = write(tmp_path / "b", [(1, 2, 1e-6)])
    records.set_aside(a, "0x1", candidate_key(trace(2)), "wrong by 47")
    assert [record.seconds for record in records.best([a, b])[ONE]] == [3e-6]
    assert records.best([a], skip=[("0x1", candidate_key(trace(1)))]) == {}
    line = records.read_lines(a / records.ASIDE)[0]
    assert line["reason"] == "wrong by 47"


def test_failed_trials_in_upstreams_files_are_no_records(tmp_path: Path) -> None:
    folder = write(tmp_path, [(1, 1, 1e10), (1, 2, 1e-6)])
    assert len(records.load(folder)) == 1


def test_reading_leaves_out_a_line_that_is_being_written(tmp_path: Path) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6), (1, 2, 1e-6)])
    path = folder / records.RECORDS
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert len(records.load(folder)) == 1
    assert path.read_bytes() == whole[:-9]


@pytest.mark.parametrize("cut", [1, 2, 9, 30])
def test_repair_cuts_torn_lines_and_keeps_whole_ones(tmp_path: Path, cut: int) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6), (1, 2, 1e-6)])
    path = folder / records.RECORDS
    path.write_bytes(path.read_bytes()[:-cut])
    notes = records.repair(folder)
    assert path.read_bytes().endswith(b"\n")
    assert len(records.load(folder)) == (2 if cut == 1 else 1)
    assert bool(notes) == (cut > 1)
    assert records.repair(folder) == []


def test_repair_drops_records_whose_workload_is_gone(tmp_path: Path) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6), (2, 1, 1e-6)])
    path = folder / records.WORKLOADS
    path.write_bytes(path.read_bytes()[:-5])
    assert len(records.repair(folder)) == 2
    assert [record.task for record in records.load(folder)] == [ONE]


def test_repair_cuts_zeros_that_a_power_cut_left(tmp_path: Path) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6)])
    with (folder / records.RECORDS).open("ab") as file:
        file.write(b"\0" * 64)
    records.repair(folder)
    assert len(records.load(folder)) == 1


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6), (1, 2, 1e-6)])
    path = folder / records.RECORDS
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(InputError, match="line 1 is damaged"):
        records.load(folder)
    path.write_text('{"what": "else"}\n')
    with pytest.raises(InputError, match="not a MetaSchedule tuning record"):
        records.load(folder)
    with pytest.raises(InputError, match="no records folder"):
        records.load(tmp_path / "nowhere")


def test_compact_keeps_the_best_of_each_workload(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [(1, 1, 3e-6), (1, 2, 1e-6), (2, 1, 5e-6)])
    b = write(tmp_path / "b", [(2, 4, 4e-6)])
    (a / records.SIDECAR).write_text("{}")
    records.set_aside(a, "0x1", candidate_key(trace(2)), "wrong")
    out = tmp_path / "out"
    assert records.compact([a, b], out) == 2
    found = records.best([out])
    assert [found[ONE][0].seconds, found[TWO][0].seconds] == [3e-6, 4e-6]
    assert (out / records.SIDECAR).exists()
    assert not list(out.glob(".*"))
    assert records.repair(out)  # tuning on from packed records
    assert (out / records.WORKLOADS).is_file()
    assert records.best([out]) == found
    assert records.repair(out) == []


def test_a_full_disk_is_one_clear_line_and_tears_nothing(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    records.append_line(path, {"a": 1})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(InputError, match="records so far are kept"):
            records.append_line(path, {"a": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert path.read_bytes() == before


def test_trials_tell_the_time_they_took(tmp_path: Path) -> None:
    assert records.trial_seconds(tmp_path) is None
    trials = tmp_path / records.TRIALS
    trials.write_text('{"task": "a", "wall": 1.25}\n{"task": "b", "wall": 2.5}\n')
    assert records.trial_seconds(tmp_path) == 3.75
    with trials.open("a") as file:
        file.write('{"task": "older"}\n')
    assert records.trial_seconds(tmp_path) is None
