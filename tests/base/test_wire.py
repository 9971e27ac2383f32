from __future__ import annotations

import itertools
import os
import selectors
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base import wire
from tvmkd.base.errors import InputError, InternalError, TvmkdError, WorkerDied, WorkerTimeout
from tvmkd.base.wire import Child

SCRIPT = """
import errno, os, subprocess, sys, time
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.wire import serve

def count(params, emit):
    for number in range(params["to"]):
        emit("step", {"number": number})
    return number + 1

def noise(params, emit):
    print("to stdout")
    os.write(1, b"to descriptor 1\\n")
    return "clean"

def bad(params, emit):
    raise InputError("model.onnx: is not one")

def bug(params, emit):
    return {}["gone"]

def broken(params, emit):
    raise TvmkdError("the linker broke")

def full(params, emit):
    raise OSError(errno.ENOSPC, "No space left on device", "/mnt/x")

def die(params, emit):
    sys.stderr.write("out of luck\\n")
    sys.stderr.flush()
    os.kill(os.getpid(), 9)

def slow(params, emit):
    time.sleep(60)

def ticks(params, emit):
    for _ in range(params["times"]):
        time.sleep(0.1)
        emit("tick", {})
    return "done"

def grandchild(params, emit):
    return subprocess.Popen(["sleep", "300"]).pid

serve({name: value for name, value in list(globals().items()) if callable(value)})
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    script = tmp_path / "child.py"
    script.write_text(SCRIPT, encoding="utf-8")
    with Child([sys.executable, str(script)]) as made:
        yield made


def test_events_come_before_the_result(child: Child) -> None:
    seen: list[Any] = []
    result = child.call("count", {"to": 3}, on_event=lambda name, data: seen.append((name, data)))
    assert result == 3
    assert seen == [("step", {"number": number}) for number in range(3)]


def test_output_of_libraries_does_not_reach_the_protocol(child: Child) -> None:
    assert child.call("noise") == "clean"
    assert child.call("count", {"to": 1}) == 1
    assert "to descriptor 1" in child.log()


def test_what_is_imported_first_may_fail_and_print(tmp_path: Path) -> None:
    script = (
        "from tvmkd.base.wire import serve\n"
        "def first():\n"
        "    print('loud')\n"
        "    found.append(1)\n"
        "    raise ImportError('absent')\n"
        "found = []\n"
        "serve({'found': lambda params, emit: found}, first)\n"
    )
    with Child([sys.executable, "-c", script]) as child:
        assert child.call("found") == [1]


def test_a_child_that_was_never_called_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []
    child = Child([sys.executable, "-c", "import time; time.sleep(60)"])
    wait = child._process.wait

    def noting(timeout: float | None = None) -> int:
        waited.append(timeout)
        return wait(timeout)

    monkeypatch.setattr(child._process, "wait", noting)
    child.close(grace=5.0)
    assert waited == [0.0, None]


def test_errors_keep_their_class_and_the_child_stays_alive(child: Child) -> None:
    with pytest.raises(InputError, match=r"^model.onnx: is not one$"):
        child.call("bad")
    with pytest.raises(InternalError, match=r"KeyError at child.py:\d+: 'gone'$") as caught:
        child.call("bug")
    assert caught.value.details.startswith("Traceback")
    assert 'return {}["gone"]' in caught.value.details
    with pytest.raises(TvmkdError, match=r"^the linker broke$") as caught:
        child.call("broken")
    assert type(caught.value) is TvmkdError
    assert "def broken" not in caught.value.details
    assert "in broken" in caught.value.details
    with pytest.raises(InputError, match=r"^/mnt/x: the disk is full") as full:
        child.call("full")
    assert full.value.details == ""
    assert child.call("count", {"to": 2}) == 2


def test_a_dead_child_is_reported_with_its_signal_and_last_line(child: Child) -> None:
    with pytest.raises(
        WorkerDied,
        match=r"die: the worker ended with signal SIGKILL \(usually .* full\): out of luck",
    ) as caught:
        child.call("die")
    assert not isinstance(caught.value, WorkerTimeout)
    assert caught.value.details == "out of luck\n"
    with pytest.raises(WorkerDied):
        child.call("count", {"to": 1})


def test_a_call_that_overruns_its_time_is_ended(child: Child) -> None:
    with pytest.raises(WorkerTimeout, match="slow: no answer in"):
        child.call("slow", timeout=1.0)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The limits in seconds of every wait for a line."""
    found: list[float] = []

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[Any]:
            assert timeout is not None
            found.append(timeout)
            return super().select(timeout)

    monkeypatch.setattr(wire.selectors, "DefaultSelector", Selector)
    return found


def test_each_event_starts_the_limit_of_silence_anew(child: Child, limits: list[float]) -> None:
    assert child.call("ticks", {"times": 3}, silence=60.0) == "done"
    assert len(limits) > 1
    assert set(limits) == {60.0}


def test_events_do_not_extend_the_limit_of_a_call(child: Child, limits: list[float]) -> None:
    assert child.call("ticks", {"times": 3}, silence=60.0, timeout=50.0) == "done"
    assert len(limits) > 1
    assert all(later < earlier <= 50.0 for earlier, later in itertools.pairwise(limits))


def test_silence_ends_a_call(child: Child) -> None:
    with pytest.raises(WorkerTimeout, match="slow: no answer in 0 s; the worker was ended"):
        child.call("slow", silence=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_processes_of_the_child_end_with_it(child: Child) -> None:
    pid = child.call("grandchild")
    os.kill(pid, 0)
    child.close(grace=0.1)
    for _ in range(50):
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if status == "Z":  # dead, not yet collected by init
            return
        time.sleep(0.1)
    pytest.fail("the grandchild is still alive")


def test_an_interrupted_call_raises_keyboard_interrupt(child: Child) -> None:
    child.call("count", {"to": 1})  # it has started
    import threading

    threading.Timer(0.3, child.interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        child.call("slow", timeout=20)
    assert child.call("count", {"to": 1}) == 1


def test_a_child_is_reusable_while_nothing_is_open_and_nothing_was_interrupted(
    child: Child,
) -> None:
    child.call("count", {"to": 1})
    assert child.reusable
    with pytest.raises(InputError):
        child.call("bad")
    assert child.reusable

    def leave(_event: str, _data: dict[str, Any]) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        child.call("count", {"to": 2}, on_event=leave)
    assert not child.reusable, "an answer is still to come"
    child.call("count", {"to": 1})
    assert child.reusable
    child.interrupt()
    assert not child.reusable


def test_a_dead_child_is_not_reusable(child: Child) -> None:
    child.call("count", {"to": 1})
    child.kill()
    assert not child.reusable
