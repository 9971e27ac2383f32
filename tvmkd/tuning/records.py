"""Tuning records on disk: TVM's own files, and the files that tvmkd writes beside them.

A records folder of the relax stack holds ``database_workload.json`` and
``database_tuning_record.json`` (JSON lines that MetaSchedule's ``JSONDatabase`` reads), one of the
relay stack ``autoscheduler.json`` (see :mod:`tvmkd.tuning.autoscheduler_log`). Both hold
``session.json`` (what they were made for), ``trials.jsonl`` (every trial, failed ones too) and
``aside.jsonl`` (records that must not be used). Reading needs no lock and never changes a folder,
so a build may read while tuning runs: it leaves out a last line that is being written.

In the relax stack a task's key is TVM's structural hash of its module, and a candidate's key is
:func:`tvmkd.tuning.space.candidate_key` of its trace.
"""

from __future__ import annotations

import codecs
import gzip
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text, write_bytes
from tvmkd.tuning import autoscheduler_log, record_lines
from tvmkd.tuning.autoscheduler_log import LOG
from tvmkd.tuning.record_lines import Check
from tvmkd.tuning.space import candidate_key

if TYPE_CHECKING:
    from tvm.s_tir.meta_schedule.database import Database

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"
TRIALS = "trials.jsonl"
ASIDE = "aside.jsonl"
SIDECAR = "session.json"
FAILED = 1e9  # seconds: upstream's figure for a trial that failed


@dataclass(frozen=True)
class StoredRecord:
    """One tuning record of a folder.

    Attributes:
        folder: the folder that it was read from.
        task: the task's key, ``0x`` and 16 hex digits.
        key: the candidate's key.
        seconds: its measured mean.
        workload: the workload's JSON, ``[hash, module]``; AutoScheduler: ``[workload key]``.
        record: the record's JSON, ``[trace, seconds, target, arguments]``; AutoScheduler: the line
            of its log.
    """

    folder: Path
    task: str
    key: str
    seconds: float
    workload: list[Any]
    record: Any


def task_key(mod: Any) -> str:
    """The key of a module: TVM's structural hash, ``0x`` and 16 hex digits."""
    from tvm.s_tir.meta_schedule.utils import shash2hex

    return normal_key(shash2hex(mod))


def normal_key(key: str) -> str:
    """A structural hash in hex, in one spelling: ``0x`` and 16 lower-case digits."""
    return f"0x{int(key, 16):016x}"


def trial_seconds(folder: Path) -> float | None:
    """The sum of the seconds that building and measuring took, over all trials of a folder.

    Trials that ran at the same time each count in full. None if the folder has no trials, or has
    older ones without a time.
    """
    walls = [line.get("wall") for line in read_lines(Path(folder) / TRIALS, record_lines.wall)]
    return None if None in walls or not walls else round(sum(walls), 3)


def trials(folder: Path) -> list[dict[str, Any]]:
    """Every trial of a folder, oldest first, as `tvmkd.tuning.session` wrote it.

    Raises:
        InputError: a line is damaged or no trial.
    """
    return read_lines(Path(folder) / TRIALS, record_lines.trial)


def read_lines(path: Path, check: Check | None = None) -> list[Any]:
    """The JSON values of a JSON-lines file; none where there is no file.

    If there is only ``PATH.gz``, that is read: shipped records are packed, since MetaSchedule
    needs 65 KB for each workload (``gunzip`` restores the file for TVM's own tools).

    A last line without its newline is still being written, or was cut off: it is left out
    unless it is valid JSON.

    Args:
        path: the file.
        check: of each value, see :mod:`tvmkd.tuning.record_lines`.

    Raises:
        InputError: another line is damaged, or no such record (names it).
    """
    return [value for _, value in _numbered(path, check)]


def _numbered(path: Path, check: Check | None = None) -> list[tuple[int, Any]]:
    """The values of `read_lines`, each with the number of its line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        packed = _packed(path)
        if not packed.exists():
            return []
        data = gzip.decompress(packed.read_bytes())
    values = []
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise _refused(path, number, "damaged") from None
        try:
            if check is not None:
                check(value)
        except ValueError as error:
            raise _refused(path, number, str(error)) from None
        values.append((number, value))
    return values


def _refused(path: Path, line: int, what: str) -> InputError:
    return InputError(f"{path}: line {line} is {what}; remove that line to go on without it")


def _packed(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


def holds_records(folder: Path) -> bool:
    """True if a folder holds tuning records."""
    return bool(native(folder))


def native(folder: Path) -> list[Path]:
    """The files of a folder that TVM's own tools read; none if it holds no records."""
    if (folder / LOG).is_file():
        return [folder / LOG]
    for workloads in (folder / WORKLOADS, _packed(folder / WORKLOADS)):
        if workloads.is_file() and (folder / RECORDS).is_file():
            return [workloads, folder / RECORDS]
    return []


def append_line(path: Path, value: Any) -> None:
    """Appends one JSON value as a line, in one write.

    Raises:
        InputError: the file cannot be written (a full disk, say).
    """
    data = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            start = os.fstat(descriptor).st_size
            if os.write(descriptor, data) != len(data):  # the disk is full
                os.ftruncate(descriptor, start)
                raise OSError(28, "No space left on device")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; records so far are kept"
        ) from None


def cut_torn(path: Path) -> bool:
    """Cuts off a last line that was being written when its process was killed.

    Only for the one process that appends to the file. Returns whether there was one.
    """
    data = path.read_bytes() if path.exists() else b""
    cut = data.rfind(b"\n") + 1
    if not data[cut:]:
        return False
    try:
        json.loads(data[cut:])
    except ValueError:
        write_bytes(path, data[:cut])
        return True
    write_bytes(path, data + b"\n")
    return False


def repair(folder: Path) -> list[str]:
    """Cuts off torn last lines and records without a workload; unpacks packed workloads.

    Only for the process that holds the folder's lock. Returns the repairs, one line each.
    """
    notes = []
    packed = _packed(folder / WORKLOADS)
    if packed.exists() and not (folder / WORKLOADS).exists():
        # Appending needs the plain file, with the workloads that the records already refer to.
        write_bytes(folder / WORKLOADS, gzip.decompress(packed.read_bytes()))
        packed.unlink()
        notes.append(f"{packed.name}: unpacked, so that tuning can continue from it")
    notes += [
        f"{name}: a torn last line was cut off"
        for name in (WORKLOADS, RECORDS, LOG, TRIALS, ASIDE)
        if cut_torn(folder / name)
    ]
    count = len(read_lines(folder / WORKLOADS))
    records = read_lines(folder / RECORDS)
    # A line that is no record stays: whoever reads it names it.
    whole = [record for record in records if record_lines.workload_of(record) < count]
    if len(whole) < len(records):
        text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in whole)
        write_bytes(folder / RECORDS, text.encode())
        notes.append(f"{RECORDS}: {len(records) - len(whole)} without a workload cut off")
    return notes


def load(folder: Path) -> list[StoredRecord]:
    """Every successful record of a folder, in the order of the file.

    Raises:
        InputError: there is no such folder, or a line is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no records folder at {folder}")
    return [*_database(folder), *_log(folder)]


def _database(folder: Path) -> list[StoredRecord]:
    workloads = read_lines(folder / WORKLOADS, record_lines.workload)
    found = []
    for number, (index, record) in _numbered(folder / RECORDS, record_lines.record):
        try:
            if index >= len(workloads):
                continue  # its workload is being written
            trace, seconds = record[0], record[1]
            if not seconds:
                continue  # upstream writes failed trials without a time
            task = f"0x{int(workloads[index][0]):016x}"
            mean = sum(seconds) / len(seconds)
            stored = StoredRecord(
                folder, task, candidate_key(trace), mean, workloads[index], record
            )
        except (ValueError, TypeError, IndexError, KeyError):
            raise _refused(folder / RECORDS, number, "no tuning record of MetaSchedule") from None
        if mean < FAILED:
            found.append(stored)
    return found


def _log(folder: Path) -> list[StoredRecord]:
    found = []
    for number, line in _numbered(folder / LOG):
        try:
            workload, task, key, seconds = autoscheduler_log.read(line)
        except (ValueError, TypeError, IndexError, KeyError):
            raise _refused(folder / LOG, number, "no tuning record of AutoScheduler") from None
        if seconds is not None and seconds < FAILED:
            found.append(StoredRecord(folder, task, key, seconds, [workload], line))
    return found


def aside(folder: Path) -> set[tuple[str, str]]:
    """Task key and candidate key of every record that was set aside in a folder."""
    lines = read_lines(Path(folder) / ASIDE, record_lines.aside)
    return {(normal_key(line["task"]), line["key"]) for line in lines}


def set_aside(folder: Path, task: str, key: str, reason: str) -> None:
    """Excludes a record from every build. It is not measured again either."""
    line = {"task": normal_key(task), "key": key, "reason": reason, "t": time.time()}
    append_line(Path(folder) / ASIDE, line)


def best(
    folders: Sequence[Path], skip: Iterable[tuple[str, str]] = ()
) -> dict[str, list[StoredRecord]]:
    """The usable records of all ``folders`` by task key, best first.

    Args:
        folders: records folders. A record that one of them sets aside is left out of all.
        skip: more ``(task key, candidate key)`` pairs to leave out.
    """
    excluded = {(normal_key(task), key) for task, key in skip}
    for folder in folders:
        excluded |= aside(folder)
    grouped: dict[str, list[StoredRecord]] = {}
    for folder in folders:
        for record in load(folder):
            if (record.task, record.key) not in excluded:
                grouped.setdefault(record.task, []).append(record)
    for group in grouped.values():
        group.sort(key=lambda record: record.seconds)
    return grouped


def database(records: Iterable[StoredRecord]) -> Database:
    """A MetaSchedule database in memory that holds ``records`` (in a worker: imports TVM)."""
    from tvm.s_tir import meta_schedule as ms

    result = ms.database.MemoryDatabase()
    for stored in records:
        workload = result.commit_workload(ms.database.Workload.from_json(stored.workload).mod)
        result.commit_tuning_record(ms.database.TuningRecord.from_json(stored.record, workload))
    return result


def _lines(values: Iterable[Any]) -> bytes:
    return "".join(json.dumps(value, separators=(",", ":")) + "\n" for value in values).encode()


def compact(folders: Sequence[Path], out: Path, keep: int = 1) -> int:
    """Writes the ``keep`` best records of each workload into the folder ``out``.

    Reads and writes JSON only. The native files in ``out`` are replaced (MetaSchedule's workloads
    packed with gzip, see `read_lines`). The sidecar is that of the first folder, with the models
    and tasks of all, and the number of trials behind each task. Returns the number of records
    written.
    """
    grouped = best(folders)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    kept = [record for task in sorted(grouped) for record in grouped[task][:keep]]
    logged = [record.record for record in kept if isinstance(record.record, dict)]
    if logged:
        write_bytes(out / LOG, _lines(logged))
    else:
        order = sorted(grouped)
        # No time stamp inside: the same records give the same bytes.
        packed = gzip.compress(_lines(grouped[task][0].workload for task in order), 9, mtime=0)
        write_bytes(_packed(out / WORKLOADS), packed)
        (out / WORKLOADS).unlink(missing_ok=True)
        write_bytes(out / RECORDS, _lines([order.index(each.task), each.record] for each in kept))
    described = [folder for folder in folders if (folder / SIDECAR).exists()]
    infos = {folder: json.loads(read_text(folder / SIDECAR)) for folder in described}
    if infos:
        counts = Counter(
            normal_key(line["task"])
            for folder in folders
            for line in read_lines(folder / TRIALS, record_lines.counted)
        )
        # A compacted folder has no list of its trials any more, only their numbers.
        for folder, each in infos.items():
            for task in [] if (folder / TRIALS).exists() else each.get("tasks", []):
                counts[normal_key(task["key"])] += task.get("trials", 0)
        info, *others = infos.values()
        for other in others:
            models, tasks = info.setdefault("models", []), info.setdefault("tasks", [])
            models += [each for each in other.get("models", []) if each not in models]
            known = {normal_key(task["key"]) for task in tasks}
            tasks += [t for t in other.get("tasks", []) if normal_key(t["key"]) not in known]
        for task in info.get("tasks", []):
            task["trials"] = counts[normal_key(task["key"])]
        write_bytes(out / SIDECAR, (json.dumps(info, indent=1) + "\n").encode())
    return len(kept)
