"""``tvmkd_learn.h`` through ctypes, with the names of `Learner` in Python."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

PHASES = ("idle", "training", "checking", "accepted", "rejected")
FLOATS = ctypes.POINTER(ctypes.c_float)


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), ("batch", ctypes.c_int32), ("steps", ctypes.c_int32),
                ("pending", ctypes.c_int32), ("rate", ctypes.c_float),
                ("momentum", ctypes.c_float), ("temperature", ctypes.c_float),
                ("distillation", ctypes.c_float), ("max_forgetting", ctypes.c_double),
                ("max_contradiction", ctypes.c_double), ("model", ctypes.c_char_p)]  # fmt: skip


COUNTS = (
    *("features", "classes", "max_classes", "shipped_classes", "phase", "pending", "held_back"),
    *("replay", "guard", "guard_shipped", "guard_after", "fresh", "fresh_before", "fresh_after"),
    *("checked", "new_before", "new_after", "old_won", "old_lost", "new_won", "new_lost", "sure"),
    "contradicted",
)
WIDE = ["added", "updates", "rejected", "rollbacks", "bytes"]


class Info(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), *((name, ctypes.c_int32) for name in COUNTS),
                *((name, ctypes.c_uint64) for name in WIDE), ("reason", ctypes.c_char_p),
                ("refused", ctypes.c_char_p)]  # fmt: skip


class Refused(Exception):
    """A call that failed: status and reason."""


class CLearner:
    def __init__(self, library: Path, head: str, state: str | None = None, **given: Any) -> None:
        self.c = ctypes.CDLL(str(library))
        self.c.tvmkd_learn_error.restype = ctypes.c_char_p
        self.handle = ctypes.c_void_p()
        options = Options()
        self.c.tvmkd_learn_defaults(ctypes.byref(options))
        for name, value in given.items():
            setattr(options, name, value)
        paths = [None if path is None else path.encode() for path in (head, state)]
        self.check(
            self.c.tvmkd_learn_open(*paths, ctypes.byref(options), ctypes.byref(self.handle))
        )

    def check(self, status: int) -> None:
        if status:
            raise Refused(status, self.c.tvmkd_learn_error(self.handle).decode())

    def close(self) -> None:
        self.c.tvmkd_learn_close(self.handle)
        self.handle = ctypes.c_void_p()

    @property
    def info(self) -> Info:
        found = Info(size=ctypes.sizeof(Info))
        self.c.tvmkd_learn_describe(self.handle, ctypes.byref(found))
        return found

    @property
    def phase(self) -> str:
        return PHASES[self.info.phase]

    @property
    def reason(self) -> str:
        return str(self.info.reason.decode())

    @property
    def refused(self) -> str:
        return str(self.info.refused.decode())

    @property
    def classes(self) -> int:
        return int(self.info.classes)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), self.info.max_classes), np.float32)
        for row, logits in zip(np.ascontiguousarray(rows, np.float32), found, strict=True):
            classes = self.c.tvmkd_learn_predict(
                self.handle, row.ctypes.data_as(FLOATS), logits.ctypes.data_as(FLOATS)
            )
        return found[:, :classes]

    def add(self, row: np.ndarray, label: int) -> None:
        row = np.ascontiguousarray(row, np.float32)
        self.check(self.c.tvmkd_learn_add(self.handle, row.ctypes.data_as(FLOATS), label))

    def begin(self) -> None:
        self.check(self.c.tvmkd_learn_begin(self.handle))

    def step(self, count: int = 1) -> str:
        return PHASES[self.c.tvmkd_learn_step(self.handle, count)]

    def rollback(self) -> None:
        self.check(self.c.tvmkd_learn_rollback(self.handle))

    def save(self) -> None:
        self.check(self.c.tvmkd_learn_save(self.handle))
