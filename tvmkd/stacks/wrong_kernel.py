"""Finds the tuning record whose kernel is wrong, and builds without it.

A compiler that is given thousands of unusual loop nests miscompiles some of them, and a wrong one
may well be the fastest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tvmkd.base.agreement import Verdict
from tvmkd.base.errors import InputError
from tvmkd.stacks.base import Emit
from tvmkd.stacks.builder import Builder, Chosen
from tvmkd.tuning import records
from tvmkd.tuning.records import StoredRecord

Explain = Callable[[Verdict], str]
"""One line for people about a model that is wrong without any record."""


class Judge(Protocol):
    """Compares a library's outputs with a reference."""

    def judge(self, library: Path) -> Verdict:
        """Runs ``library`` and compares."""


def first_of(usable: Mapping[str, Sequence[StoredRecord]]) -> dict[str, StoredRecord]:
    """The best usable record of each task that has one."""
    return {key: found[0] for key, found in usable.items() if found}


def build_until_right(
    builder: Builder,
    explain: Explain,
    usable: Mapping[str, list[StoredRecord]],
    reference: Judge,
    library: Path,
    folders: Sequence[Path],
    emit: Emit,
) -> tuple[Verdict, list[dict[str, str]]]:
    """Builds ``library`` with the best records, and sets wrong ones aside until its outputs agree.

    Args:
        builder: of the model.
        explain: is asked if no record is to blame.
        usable: the records of each task, best first; wrong ones are taken out of it.
        reference: decides whether a library is right.
        library: the file to write.
        folders: the records folders; see `write_aside`.
        emit: gets ``stage`` events and a ``set_aside`` event for each wrong record.

    Returns:
        the verdict on ``library``, and ``{"task", "key", "reason", "folder"}`` of each record that
        was set aside.

    Raises:
        InputError: the outputs differ and no record is to blame.
    """
    aside: list[dict[str, str]] = []
    while True:
        chosen = first_of(usable)
        emit("stage", {"text": f"compiling {len(builder.tasks)} kernels"})
        builder.library(chosen, library, defaults=True)
        emit("stage", {"text": "comparing with ONNX Runtime"})
        verdict = reference.judge(library)
        if verdict.agrees:
            return verdict, aside
        try:
            wrong = _wrong_task(builder, chosen, reference, library.with_name("probe.so"), emit)
        except NoRecordIsWrong:
            raise InputError(explain(verdict)) from None
        record = usable[wrong].pop(0)
        entry = {
            "task": builder.tasks[wrong].name,
            "key": record.key,
            "reason": verdict.reason,
            "folder": os.fspath(record.folder),
        }
        write_aside(record, folders, verdict.reason)
        aside.append(entry)
        emit("set_aside", entry)


def _wrong_task(builder: Builder, chosen: Chosen, reference: Judge, probe: Path, emit: Emit) -> str:
    """The key of a task whose record makes the model wrong; builds libraries at ``probe``."""
    order = list(chosen)

    def agrees(count: int) -> bool:
        emit("stage", {"text": f"searching for the wrong kernel: {count} of {len(order)} tuned"})
        part = {key: chosen[key] for key in order[:count]}
        return reference.judge(builder.library(part, probe, defaults=False)).agrees

    return order[find_wrong(len(order), agrees)]


class NoRecordIsWrong(Exception):
    """The model is wrong for another reason than its records; the message says which."""


def find_wrong(count: int, agrees: Callable[[int], bool]) -> int:
    """Finds by bisection one of ``count`` records that makes the model wrong.

    Args:
        count: how many records there are.
        agrees: whether the model is right if built with the first ``n`` records, and without any
            schedule for the other tasks.

    Returns:
        the index of a wrong record: the model is right with the records before it and wrong with
        it added.

    Raises:
        NoRecordIsWrong: the model is wrong without any record, or right with all of them.
    """
    if not agrees(0):
        raise NoRecordIsWrong("the importer or the code generator is wrong on this model")
    right, wrong = 0, count
    if agrees(wrong):
        raise NoRecordIsWrong("a default schedule is wrong")
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if agrees(middle):
            right = middle
        else:
            wrong = middle
    return right


def write_aside(record: StoredRecord, folders: Sequence[Path], reason: str) -> None:
    """Sets a record aside in its own folder, or else in the first writable one of ``folders``.

    Records that ship with tvmkd may be read-only.
    """
    for folder in (record.folder, *folders):
        if os.access(folder, os.W_OK):
            records.set_aside(folder, record.task, record.key, reason)
            return
