from __future__ import annotations

import json
import os
import platform

import pytest

from tvmkd.boards.facts import facts


@pytest.mark.parametrize(("value", "expected"), [("3", 3), (None, None), ("many", None)])
def test_threads_come_from_the_environment(
    value: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("TVM_NUM_THREADS", value)
    assert facts()["tvm_num_threads"] == expected


def test_the_machine_is_this_one() -> None:
    found = facts()
    assert json.loads(json.dumps(found)) == found
    assert found["machine"] == platform.machine()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["memory_bytes"] > 1 << 28
    assert found["cpu"]
