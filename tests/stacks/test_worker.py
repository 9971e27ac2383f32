from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tvmkd.base.errors import UsageError
from tvmkd.base.wire import Child
from tvmkd.stacks.base import METHODS
from tvmkd.stacks.worker import handlers

WORKER = [sys.executable, "-m", "tvmkd.stacks.worker"]


def test_it_serves_every_method_of_a_stack() -> None:
    assert set(handlers("relax")) == set(METHODS)


def test_an_unknown_stack_is_a_clear_error() -> None:
    with Child([*WORKER, "glow"]) as child, pytest.raises(UsageError, match="known: relax"):
        child.call("available", timeout=60)


def test_it_ends_when_its_parent_is_gone_and_when_told_to() -> None:
    code = (
        "import subprocess, sys, time; "
        f"p = subprocess.Popen({WORKER!r} + ['relax'], stdin=subprocess.PIPE, "
        "start_new_session=True); time.sleep(1.5); print(p.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    with subprocess.Popen([*WORKER, "relax"], stdin=subprocess.PIPE) as worker:
        time.sleep(1.5)
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(5) == 130
