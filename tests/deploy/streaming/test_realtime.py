from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvmkd.base.errors import MissingError, UsageError
from tvmkd.deploy.streaming import realtime
from tvmkd.deploy.streaming.realtime import Priority


@pytest.mark.parametrize(
    ("text", "found"),
    [("3", (3,)), ("3,1", (1, 3)), ("0-2", (0, 1, 2)), ("0-1, 4", (0, 1, 4)), ("2,2", (2,))],
)
def test_cpus(text: str, found: tuple[int, ...]) -> None:
    assert realtime.cpus(text) == found


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "1-", "99999"])
def test_no_cpus(text: str) -> None:
    with pytest.raises(UsageError, match="give CPUs such as"):
        realtime.cpus(text)


def test_priorities() -> None:
    assert Priority.parse("fifo:50") == Priority("fifo", 50)
    assert Priority.parse("rr:1") == Priority("rr", 1)
    for text in ("fifo", "fifo:0", "fifo:100", "other:5", "FIFO:5", "fifo:-1"):
        with pytest.raises(UsageError, match="give fifo:1 to fifo:99"):
            Priority.parse(text)


def test_a_cpu_is_used_and_then_all_again() -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    with realtime.applied((one,)):
        assert os.sched_getaffinity(0) == {one}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(RuntimeError), realtime.applied((one,)):
        raise RuntimeError
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_is_not_there_is_named() -> None:
    before = os.sched_getaffinity(0)
    refused = pytest.raises(MissingError, match=r"CPU 999 cannot be used here; there are")
    with refused, realtime.applied((min(before), 999)):
        pass
    assert os.sched_getaffinity(0) == before


# In a process of its own: what a test process locks or raises stays its own business.
SCRIPT = """
import os, sys
from tvmkd.deploy.streaming import realtime
from tvmkd.base.errors import MissingError
def locked():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmLck")).split()[1]) > 0
def state():
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, locked()
if len(sys.argv) > 1:
    import resource
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    os.setresuid(65534, 65534, 65534)
for settings in (dict(priority=realtime.Priority("fifo", 7)), dict(lock_memory=True)):
    try:
        with realtime.applied(**settings):
            print("inside", *state())
    except MissingError as error:
        print(error.exit_code, error)
    print("after", *state())
"""


def run(*arguments: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_is_permitted_is_applied_and_undone() -> None:
    lines = run()
    if any(line.startswith("5 ") for line in lines):
        pytest.skip(f"not permitted here: {lines}")
    fifo, other = int(os.SCHED_FIFO), int(os.SCHED_OTHER)
    assert lines == [
        f"inside {fifo} 7 False",
        f"after {other} 0 False",
        f"inside {other} 0 True",
        f"after {other} 0 False",
    ]


def test_what_is_not_permitted_is_one_line_that_says_how_to_allow_it() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become nobody")
    if not os.access(Path(sys.executable).resolve().parent, os.X_OK):
        pytest.skip("nobody cannot read this Python")
    priority, after, memory, end = run("nobody")
    assert priority.startswith("5 --priority fifo:7: not permitted here (Operation not permitted)")
    assert "ulimit -r 7" in priority
    assert memory.startswith("5 --mlock: not permitted here")
    assert "ulimit -l unlimited" in memory
    assert after == end == f"after {int(os.SCHED_OTHER)} 0 False"
