"""The compiled timer notes a time for each call, and says where they did not fit."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.runtime.call_timer import CallTimer


class Value(ctypes.Structure):
    _fields_ = [("type_index", ctypes.c_int32), ("padding", ctypes.c_int32), ("v", ctypes.c_int64)]


def timer() -> tuple[CallTimer, Any]:
    """The timer, and its function as TVM calls it."""

    def load(path: str) -> dict[str, Any]:
        return {"tvmkd_call_timer": ctypes.CDLL(path)["__tvm_ffi_tvmkd_call_timer"]}

    made = CallTimer(SimpleNamespace(runtime=SimpleNamespace(load_module=load)))

    def call() -> None:
        result = Value(7, 0, 7)
        assert made.instrument(None, None, 0, ctypes.byref(result)) == 0
        assert (result.type_index, result.v) == (0, 0)  # None

    return made, call


def test_each_call_gets_a_time() -> None:
    made, call = timer()
    made.start(4)
    for _ in range(3):
        call()
    first = made.ticks()
    assert len(first) == 3
    assert sorted(first) == list(first)
    assert first[0] > 0
    made.start(4)
    assert len(made.ticks()) == 0
    call()
    assert made.ticks()[0] >= first[-1]


def test_too_many_calls_are_an_error() -> None:
    made, call = timer()
    made.start(1)
    call()
    call()
    with pytest.raises(ValueError, match="2 times were noted"):
        made.ticks()
