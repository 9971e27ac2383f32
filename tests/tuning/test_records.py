from __future__ import annotations

import gzip
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.tuning import autoscheduler_log, records
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


def test_a_torn_line_is_cut_and_a_whole_one_gets_its_end(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    assert not records.cut_torn(path)
    assert not path.exists()
    for text, torn, after in [
        ('{"a": 1}\n{"b"', True, '{"a": 1}\n'),
        ('{"a": 1}\n{"b": 2}', False, '{"a": 1}\n{"b": 2}\n'),
        ('{"a": 1}\n', False, '{"a": 1}\n'),
    ]:
        path.write_text(text)
        assert records.cut_torn(path) is torn
        assert path.read_text() == after


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
    with pytest.raises(InputError, match="line 1 is no tuning record of MetaSchedule; remove"):
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


@pytest.mark.parametrize(
    ("key", "normal"),
    [
        ("0x1", "0x0000000000000001"),
        ("AB", "0x00000000000000ab"),
        ("0x00000000000000AB", "0x00000000000000ab"),
        ("0xffffffffffffffff", "0xffffffffffffffff"),
    ],
)
def test_a_key_is_written_one_way(key: str, normal: str) -> None:
    assert records.normal_key(key) == normal


@pytest.mark.parametrize(
    ("walls", "seconds"),
    [
        ([], None),
        ([0.0], 0.0),
        ([1.25, 2.5], 3.75),
        ([0.00049, 0.0], 0.0),
        ([0.0004, 0.0002], 0.001),
        ([1.25, None], None),
    ],
)
def test_the_seconds_of_the_trials_add_up(
    tmp_path: Path, walls: list[float | None], seconds: float | None
) -> None:
    for wall in walls:
        line = {"task": "a"} if wall is None else {"task": "a", "wall": wall}
        records.append_line(tmp_path / records.TRIALS, line)
    assert records.trial_seconds(tmp_path) == seconds


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("1\n", [1]),
        ("1\n2", [1, 2]),
        ("1\n{", [1]),
        ("{", []),
        ("\n1\n\n \n2\n", [1, 2]),
        ('{"a":\n', "line 1"),
        ("1\n{\n", "line 2"),
        ("1\n{\n2", "line 2"),
    ],
)
def test_only_a_last_line_without_its_end_may_be_torn(
    tmp_path: Path, text: str, values: list[Any] | str
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(text)
    if isinstance(values, str):
        with pytest.raises(InputError, match=f"lines.jsonl: {values} is damaged"):
            records.read_lines(path)
    else:
        assert records.read_lines(path) == values


def test_packed_lines_are_read_where_there_are_no_plain_ones(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    assert records.read_lines(path) == []
    (tmp_path / "lines.jsonl.gz").write_bytes(gzip.compress(b"1\n2\n"))
    assert records.read_lines(path) == [1, 2]
    path.write_text("3\n")
    assert records.read_lines(path) == [3]


def test_what_tvms_own_tools_read_is_named(tmp_path: Path) -> None:
    workloads, packed = tmp_path / records.WORKLOADS, tmp_path / f"{records.WORKLOADS}.gz"
    tuning, log = tmp_path / records.RECORDS, tmp_path / autoscheduler_log.LOG
    assert records.native(tmp_path) == []
    workloads.write_text("")
    assert records.native(tmp_path) == [], "half of a database"
    assert not records.holds_records(tmp_path)
    tuning.write_text("")
    assert records.native(tmp_path) == [workloads, tuning]
    assert records.holds_records(tmp_path)
    packed.write_text("")
    assert records.native(tmp_path) == [workloads, tuning]
    workloads.unlink()
    assert records.native(tmp_path) == [packed, tuning]
    tuning.unlink()
    assert records.native(tmp_path) == []
    log.write_text("")
    assert records.native(tmp_path) == [log]


def test_a_line_is_appended_in_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, written, write_to = tmp_path / "lines.jsonl", [], os.write

    def write(descriptor: int, data: bytes) -> int:
        written.append(data)
        return write_to(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    records.append_line(path, {"a": 1, "b": [1, 2]})
    records.append_line(path, {"a": 2})
    assert written == [b'{"a":1,"b":[1,2]}\n', b'{"a":2}\n']
    assert path.read_bytes() == b"".join(written)
    assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write_to = tmp_path / "lines.jsonl", os.write
    records.append_line(path, {"a": 1})
    before = path.read_bytes()
    monkeypatch.setattr(os, "write", lambda descriptor, data: write_to(descriptor, data[:3]))
    with pytest.raises(InputError, match="No space left on device; records so far are kept"):
        records.append_line(path, {"a": 2})
    assert path.read_bytes() == before


def test_a_folder_that_is_gone_takes_no_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*lines.jsonl: No such file"):
        records.append_line(tmp_path / "gone" / "lines.jsonl", 1)


@pytest.mark.parametrize(
    "name",
    [records.WORKLOADS, records.RECORDS, autoscheduler_log.LOG, records.TRIALS, records.ASIDE],
)
def test_a_torn_end_of_any_file_is_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("[0]\n[0")
    assert records.repair(tmp_path)[0] == f"{name}: a torn last line was cut off"
    # Records point at workloads, and there are none.
    assert path.read_text() == ("" if name == records.RECORDS else "[0]\n")


def test_a_whole_last_line_gets_its_end(tmp_path: Path) -> None:
    path = tmp_path / records.TRIALS
    path.write_text("[0]\n[1]")
    assert records.repair(tmp_path) == []
    assert path.read_text() == "[0]\n[1]\n"


@pytest.mark.parametrize(("workloads", "kept"), [(0, 0), (1, 2), (2, 3), (3, 3)])
def test_records_without_their_workload_are_cut_off(
    tmp_path: Path, workloads: int, kept: int
) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6), (1, 2, 1e-6), (2, 1, 2e-6)])
    lines = [json.dumps([str(value), "bW9k"]) + "\n" for value in (1, 2, 3)]
    (folder / records.WORKLOADS).write_text("".join(lines[:workloads]))
    notes = records.repair(folder)
    lost = f"{records.RECORDS}: {3 - kept} without a workload cut off"
    assert notes == ([lost] if kept < 3 else [])
    assert [record.seconds for record in records.load(folder)] == [3e-6, 1e-6, 2e-6][:kept]


def test_packed_workloads_are_unpacked_once_and_kept_where_they_are_plain(tmp_path: Path) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6)])
    plain, packed = folder / records.WORKLOADS, folder / f"{records.WORKLOADS}.gz"
    text = plain.read_bytes()
    packed.write_bytes(gzip.compress(text))
    assert records.repair(folder) == []
    assert packed.exists()
    plain.unlink()
    assert records.repair(folder) == [
        f"{records.WORKLOADS}.gz: unpacked, so that tuning can continue from it"
    ]
    assert plain.read_bytes() == text
    assert not packed.exists()


def one_record(folder: Path, seconds: list[float]) -> Path:
    (folder / records.WORKLOADS).write_text(json.dumps(["1", "bW9k"]) + "\n")
    line = [0, [trace(1), seconds, {"kind": "llvm"}, []]]
    (folder / records.RECORDS).write_text(json.dumps(line) + "\n")
    return folder


@pytest.mark.parametrize(
    ("seconds", "mean"),
    [
        ([2e-6], 2e-6),
        ([1e-6, 3e-6, 8e-6], 4e-6),
        ([], None),
        ([1e9], None),
        ([9.9e8], 9.9e8),
        ([0.0, 1.9e9], 9.5e8),
        ([1e10], None),
    ],
)
def test_a_record_stands_for_the_mean_of_its_times(
    tmp_path: Path, seconds: list[float], mean: float | None
) -> None:
    found = records.load(one_record(tmp_path, seconds))
    assert [record.seconds for record in found] == ([] if mean is None else [pytest.approx(mean)])


def test_a_record_has_what_its_lines_hold(tmp_path: Path) -> None:
    (record,) = records.load(one_record(tmp_path, [2e-6]))
    assert record == records.StoredRecord(
        tmp_path,
        ONE,
        candidate_key(trace(1)),
        2e-6,
        ["1", "bW9k"],
        [trace(1), [2e-6], {"kind": "llvm"}, []],
    )


@pytest.mark.parametrize("seconds", [1e9, 9.9e8])
def test_a_logs_failures_are_no_records(tmp_path: Path, seconds: float) -> None:
    line = {"i": [["w", "llvm"], [[], ["steps"]]], "r": [[seconds], 0, 1.0, 1]}
    records.append_line(tmp_path / autoscheduler_log.LOG, line)
    assert [record.seconds for record in records.load(tmp_path)] == (
        [seconds] if seconds < 1e9 else []
    )


def test_what_is_set_aside_says_why_and_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records.time, "time", lambda: 12.5)
    assert records.aside(tmp_path) == set()
    records.set_aside(tmp_path, "0x1", "a", "wrong by 47")
    records.set_aside(tmp_path, "2", "b", "wrong by 3")
    assert records.aside(tmp_path) == {(ONE, "a"), (TWO, "b")}
    line = {"task": ONE, "key": "a", "reason": "wrong by 47", "t": 12.5}
    assert records.read_lines(tmp_path / records.ASIDE)[0] == line


def test_only_that_candidate_of_that_task_is_set_aside(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [(1, 1, 3e-6), (1, 2, 1e-6), (2, 1, 5e-6)])
    records.set_aside(a, "0x1", candidate_key(trace(1)), "wrong")
    found = records.best([a], skip=[("2", candidate_key(trace(2)))])
    assert {task: [each.seconds for each in group] for task, group in found.items()} == {
        ONE: [1e-6],
        TWO: [5e-6],
    }


def test_equal_records_keep_the_order_of_the_folders(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [(1, 1, 2e-6)])
    b = write(tmp_path / "b", [(1, 2, 2e-6)])
    for folders in ([a, b], [b, a]):
        assert [record.folder for record in records.best(folders)[ONE]] == folders


@pytest.mark.parametrize(("keep", "expected"), [(1, [1e-6]), (2, [1e-6, 2e-6]), (9, None)])
def test_compact_keeps_as_many_as_asked_for(
    tmp_path: Path, keep: int, expected: list[float] | None
) -> None:
    a = write(tmp_path / "a", [(1, 1, 3e-6), (1, 2, 1e-6), (1, 3, 2e-6), (2, 1, 5e-6)])
    expected = expected or [1e-6, 2e-6, 3e-6]
    assert records.compact([a], tmp_path / "out", keep=keep) == len(expected) + 1
    found = records.best([tmp_path / "out"])
    assert [record.seconds for record in found[ONE]] == expected
    assert [record.seconds for record in found[TWO]] == [5e-6]


def test_the_same_records_are_compacted_to_the_same_bytes(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [(2, 1, 5e-6), (1, 1, 3e-6)])
    b = write(tmp_path / "b", [(1, 1, 3e-6), (2, 1, 5e-6)])
    contents = []
    for folder, out in ((a, tmp_path / "x"), (b, tmp_path / "y")):
        records.compact([folder], out)
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {f"{records.WORKLOADS}.gz", records.RECORDS}


def test_compacting_into_the_folder_itself_leaves_one_kind_of_workloads(tmp_path: Path) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6), (1, 2, 1e-6)])
    assert records.compact([folder], folder) == 1
    assert not (folder / records.WORKLOADS).exists()
    assert [record.seconds for record in records.load(folder)] == [1e-6]


def test_the_compacted_sidecar_counts_the_trials_of_all_folders(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [(1, 1, 3e-6)])
    b = write(tmp_path / "b", [(2, 1, 5e-6)])
    info = {"stack": "relax", "models": ["m"], "tasks": [{"key": "0x1"}, {"key": TWO}]}
    (a / records.SIDECAR).write_text(json.dumps(info))
    more = {"stack": "no", "models": ["m", "n"], "tasks": [{"key": ONE}, {"key": "0x3"}]}
    (b / records.SIDECAR).write_text(json.dumps(more))
    for folder, tasks in ((a, ["0x1", ONE]), (b, ["0x1", "2"])):
        for task in tasks:
            records.append_line(folder / records.TRIALS, {"task": task})
    records.compact([a, b], tmp_path / "out")
    found = json.loads((tmp_path / "out" / records.SIDECAR).read_text())
    assert found["stack"] == "relax"
    assert found["models"] == ["m", "n"]
    assert [task["trials"] for task in found["tasks"]] == [3, 1, 0]
    records.compact([tmp_path / "out", b], tmp_path / "again")
    again = json.loads((tmp_path / "again" / records.SIDECAR).read_text())
    assert [task["trials"] for task in again["tasks"]] == [4, 2, 0], "without trials, their number"


def test_without_a_sidecar_none_is_written(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [(1, 1, 3e-6)])
    records.compact([a], tmp_path / "out")
    assert not (tmp_path / "out" / records.SIDECAR).exists()
    assert records.compact([], tmp_path / "none") == 0


def test_a_logs_record_has_what_its_line_holds(tmp_path: Path) -> None:
    line = {"i": [["w", "llvm"], [[], ["steps"]]], "r": [[2e-6], 0, 1.0, 1]}
    records.append_line(tmp_path / autoscheduler_log.LOG, line)
    task, key = autoscheduler_log.task_key("w"), autoscheduler_log.candidate_key(["steps"])
    expected = records.StoredRecord(tmp_path, task, key, 2e-6, ["w"], line)
    assert records.load(tmp_path) == [expected]
    assert records.compact([tmp_path], tmp_path / "out" / "deep") == 1
    assert records.read_lines(tmp_path / "out" / "deep" / autoscheduler_log.LOG) == [line]


def test_a_record_whose_workload_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path, [(1, 1, 3e-6), (2, 1, 1e-6)])
    path = folder / records.WORKLOADS
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert [record.task for record in records.load(folder)] == [ONE]


def test_the_files_have_the_names_that_older_folders_have() -> None:
    assert (records.WORKLOADS, records.RECORDS) == (
        "database_workload.json",
        "database_tuning_record.json",
    )
    assert (records.TRIALS, records.ASIDE, records.SIDECAR) == (
        "trials.jsonl",
        "aside.jsonl",
        "session.json",
    )
    assert autoscheduler_log.LOG == "autoscheduler.json"


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (records.TRIALS, '{"hello": 1}', 'no trial: it has no "task"; remove that line'),
        (records.TRIALS, "[1, 2, 3]", "no trial"),
        (records.ASIDE, '{"task": "0x1"}', 'no record that was set aside: it has no "key"'),
        (records.RECORDS, "7", "no tuning record of MetaSchedule"),
        (records.RECORDS, '[0, ["trace", [1.0], {}, []]]', "no tuning record of MetaSchedule"),
        (records.WORKLOADS, '{"a": 1}', "no workload of MetaSchedule"),
    ],
)
def test_json_that_is_no_record_is_named(
    tmp_path: Path, name: str, line: str, message: str
) -> None:
    write(tmp_path, [(1, 1, 3e-6)])
    records.append_line(tmp_path / records.TRIALS, {"task": "0x1", "key": "k"})
    records.set_aside(tmp_path, "0x1", "k", "wrong")
    with (tmp_path / name).open("a") as stream:
        stream.write(line + "\n")
    read = {records.TRIALS: records.trials, records.ASIDE: records.aside}.get(name, records.load)
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert f"{tmp_path / name}: line 2 is {message}" in str(caught.value)


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_bytes(b"\xef\xbb\xbf1\n2\n")
    assert records.read_lines(tmp_path / "lines.jsonl") == [1, 2]
