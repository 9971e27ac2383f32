from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest

from tvmkd.base import signals

HUNG_UP = """
import os, signal, sys, time
from tvmkd.base import signals

def note(number, frame):
    signals.hung_up()
    done.append(number)

done = []
with signals.handled({signal.SIGHUP: note}):
    print("ready", flush=True)
    while not done:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGHUP)
    print("nobody reads this", flush=True)
    os.write(int(sys.argv[1]), repr([int(each) for each in done]).encode())
"""


def test_handlers_are_set_back() -> None:
    before = [signal.getsignal(number) for number in signals.ending()]
    got: list[int] = []
    with signals.handled({signal.SIGHUP: lambda number, _: got.append(number)}):
        signal.raise_signal(signal.SIGHUP)
    assert got == [signal.SIGHUP]
    assert [signal.getsignal(number) for number in signals.ending()] == before


def test_nohup_is_respected() -> None:
    assert signal.SIGHUP in signals.ending()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signals.ending() == (signal.SIGINT, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("ends", [True, False], ids=["gone", "there"])
def test_a_terminal_that_is_gone_breaks_no_write_and_a_second_signal_no_end(ends: bool) -> None:
    master, slave = pty.openpty()
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", HUNG_UP, str(write)], stdout=slave, pass_fds=[write]
    )
    os.close(slave)
    os.close(write)
    assert b"ready" in os.read(master, 100)
    if ends:
        os.close(master)
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 0
    assert os.read(read, 100) == b"[1]"
    os.close(read)
    if not ends:
        assert b"nobody reads this" in os.read(master, 100)
        os.close(master)
