"""A tuning session: one folder with one writer, which records each trial as it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError, unwritable
from tvmkd.base.files import read_text, write_text
from tvmkd.base.locks import Lock
from tvmkd.base.machine import LEVEL_BELOW
from tvmkd.base.version import __version__
from tvmkd.tuning import records, tuner_backend
from tvmkd.tuning.space import Candidate, Task

SCHEMA = 1
SCORE = "score"
"""The evaluator of records whose figures were reckoned and never timed on a board: see
``benchmarks/make_scored_schedules.py``.
"""


class Session:
    """An open records folder, locked for this process. Use as a context manager.

    Made by :func:`open_session`.

    Attributes:
        folder: the folder.
        info: the content of ``session.json``.
        notes: the repairs that opening made, one line each.
    """

    def __init__(self, folder: Path, lock: Lock, info: dict[str, Any], notes: list[str]) -> None:
        self.folder = folder
        self.info = info
        self.notes = notes
        self._lock = lock
        self._recorder = tuner_backend.of(info["stack"]).recorder(folder)
        self._records = records.load(folder)
        self._aside = records.aside(folder)
        self._history: dict[str, list[tuple[str, float | None]]] = {}
        self._counts: dict[str, int] = {}
        for line in records.trials(folder):
            task = records.normal_key(line["task"])
            self._history.setdefault(task, []).append((line["key"], line.get("figure")))
            self._counts[task] = self._counts.get(task, 0) + 1
        for record in self._records:  # copied, or the run was killed before it wrote the line
            history = self._history.setdefault(record.task, [])
            if all(key != record.key for key, _ in history):
                history.append((record.key, record.seconds))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlocks the folder for other processes."""
        self._lock.close()

    def known_keys(self, task: str) -> set[str]:
        """Keys of the candidates of a task that must not be measured (again)."""
        task = records.normal_key(task)
        known = {key for key, _ in self._history.get(task, [])}
        return known | {key for other, key in self._aside if other == task}

    def history(self, task: str) -> list[tuple[str, float | None]]:
        """Key and seconds (None: failed) of every trial of a task, oldest first."""
        return list(self._history.get(records.normal_key(task), []))

    def trials(self, task: str) -> int:
        """How many trials of a task were made in this folder, failed ones included."""
        return self._counts.get(records.normal_key(task), 0)

    def best(self, task: str) -> float | None:
        """The best seconds of a task so far, without records that were set aside."""
        task = records.normal_key(task)
        usable = [
            seconds
            for key, seconds in self._history.get(task, [])
            if seconds is not None and (task, key) not in self._aside
        ]
        return min(usable, default=None)

    def stored(self, task: str) -> list[records.StoredRecord]:
        """The records of a task at opening, without those that were set aside."""
        task = records.normal_key(task)
        return [
            record
            for record in self._records
            if record.task == task and (task, record.key) not in self._aside
        ]

    def describe(
        self, tasks: Sequence[Task], boards: Sequence[Mapping[str, Any]], seed: int
    ) -> None:
        """Writes the tasks, the boards' facts and the seed into the sidecar."""
        merged = {records.normal_key(task["key"]): task for task in self.info["tasks"]}
        merged.update({records.normal_key(task.key): task.summary() for task in tasks})
        self.info.update(tasks=list(merged.values()), boards=list(boards), seed=seed)
        if boards:
            emulated = any(board.get("emulated") for board in boards)
            self.info["measured_on"] = "emulated" if emulated else "real"
        _write_info(self.folder, self.info)

    def add_board(self, facts: Mapping[str, Any]) -> None:
        """Adds the facts of a board that came later to the sidecar."""
        others = [board for board in self.info["boards"] if board["board"] != facts["board"]]
        self.info["boards"] = [*others, dict(facts)]
        _write_info(self.folder, self.info)

    @property
    def emulated(self) -> bool | None:
        """True if these records are of emulated boards; None while there are none."""
        kind = self.info.get("measured_on")
        return None if kind is None or not self._counts else kind == "emulated"

    def add(
        self,
        task: Task,
        candidate: Candidate,
        *,
        figure: float | None,
        seconds: Sequence[float] | None,
        error_kind: str | None,
        error: str | None,
        board: str | None,
        wall: float,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Records one trial. The native record is written first: a trial without it would be lost.

        Args:
            figure: the candidate's seconds (None: it failed). The native record holds this one
                value, since upstream ranks records by the mean of their values.
            seconds: the raw repeats.
            wall: seconds that building and measuring took.
            facts: of the measurement: ``spread``, ``remeasured``, ``celsius``, ``throttled``.

        Raises:
            InputError: the folder cannot be written to.
        """
        key = records.normal_key(task.key)
        if figure is not None:
            self._recorder.add(task, candidate, figure)
        trial = sum(self._counts.values()) + 1
        line = {
            "task": key,
            "key": candidate.key,
            "status": "ok" if error_kind is None else error_kind,
            "figure": figure,
            "seconds": None if seconds is None else list(seconds),
            "error": None if error is None else error[-500:],
            "t": time.time(),
            "trial": trial,
            "board": board,
            "wall": round(wall, 4),
            **(facts or {}),
        }
        records.append_line(self.folder / records.TRIALS, line)
        self._history.setdefault(key, []).append((candidate.key, figure))
        self._counts[key] = self._counts.get(key, 0) + 1


def _write_info(folder: Path, info: Mapping[str, Any]) -> None:
    write_text(folder / records.SIDECAR, json.dumps(info, indent=1) + "\n")


def read_info(folder: Path) -> dict[str, Any] | None:
    """The content of a records folder's sidecar, None if there is none.

    Raises:
        InputError: it is damaged, or written by a newer tvmkd.
    """
    path = Path(folder) / records.SIDECAR
    try:
        info = json.loads(read_text(path))
        schema = info["schema_version"]
        for name, kind in (("stack", str), ("target", dict), ("models", list), ("tasks", list)):
            if not isinstance(info.get(name, kind()), kind):
                raise ValueError(name)
        for task in info.get("tasks", []):
            records.normal_key(task["key"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; move it away to start it anew") from None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema}; this tvmkd reads schema {SCHEMA}")
    result: dict[str, Any] = info
    return result


def check_evaluator(folder: Path, evaluator: str) -> None:
    """Checks that the figures of a records folder are of this kind; see `open_session`.

    Raises:
        InputError: they are of another kind.
    """
    info = read_info(folder)
    found = evaluator if info is None else info.get("evaluator", "time")
    if found != evaluator:
        made = {"time": "times", "icount": "instruction counts", SCORE: "scores"}
        raise InputError(
            f"{folder} holds {made.get(found, found)}, and {made[evaluator]} cannot be compared "
            "with them; choose another --records folder"
        )


def check_made_for(
    folder: Path, target: Mapping[str, Any], stack: str, *, same_cores: bool = True
) -> None:
    """Checks that a records folder was made for this target and stack.

    Args:
        same_cores: require the same number of cores and the same CPU, since times are not
            comparable otherwise. A build needs the schedules only, so it passes False: then
            records for a CPU with fewer instructions will do.

    Raises:
        InputError: it was made for another one; the message says which.
    """
    info = read_info(folder)
    if info is None:
        return
    if info["stack"] != stack:
        raise InputError(f"{folder} was made by the stack {info['stack']!r}, not {stack!r}")
    made = info["target"]
    old, new = dict(made.get("tvm") or {}), dict(target.get("tvm") or {})
    if not same_cores:
        for spec in (old, new):
            spec.pop("num-cores", None)
            spec.pop("mattr", None)
        if old.get("mcpu") == LEVEL_BELOW.get(str(new.get("mcpu")), ""):
            old["mcpu"] = new["mcpu"]
    if old != new:
        names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        differs = ", ".join(f"{name}: {old.get(name)!r} there" for name in names)
        raise InputError(
            f"{folder} holds records for the target {made.get('name')!r}, not "
            f"{target.get('name')!r} ({differs}); choose another --records folder"
        )


def open_session(
    folder: Path,
    target: Mapping[str, Any],
    stack: str,
    *,
    stack_version: str = "",
    onnx_sha256: str | None = None,
    seed: int = 0,
    evaluator: str = "time",
) -> Session:
    """Opens or makes a records folder, locks it, and repairs lines that a killed run left torn.

    Args:
        target: ``Target.to_dict()``.
        stack: the stack's name.
        onnx_sha256: the hash of the model; one folder may serve several models.
        evaluator: ``"time"``, ``"icount"`` (instruction counts) or `SCORE`: what the figures are.

    Raises:
        InputError: another process uses it, it was made for another target or stack, it is
            damaged, or it cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / ".lock", "tuning into this folder", "give another --records folder")
    except OSError as error:
        raise unwritable(error, folder) from None
    try:
        # Again if the caller has checked: another tuner may have made the folder since.
        check_made_for(folder, target, stack)
        check_evaluator(folder, evaluator)
        notes = records.repair(folder)
        info = read_info(folder)
        if info is None:
            info = {
                "schema_version": SCHEMA,
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "target": dict(target),
                "stack": stack,
                "stack_version": stack_version,
                "tvmkd_version": __version__,
                "models": [],
                "seed": seed,
                "statistic": "lower quartile of the repeats",
                "evaluator": evaluator,
                "boards": [],
                "tasks": [],
            }
        elif stack_version and info["stack_version"] != stack_version:
            notes.append(f"these records are of {stack} {info['stack_version']}")
        if onnx_sha256 and onnx_sha256 not in info["models"]:
            info["models"].append(onnx_sha256)
        _write_info(folder, info)
        return Session(folder, lock, info, notes)
    except BaseException:
        lock.close()
        raise
