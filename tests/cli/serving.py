"""Commands that serve until they are ended, as processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any


def start(*argv: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A command that serves until it is ended, and the JSON that it prints when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tvmkd", *argv, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, json.loads(line)


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    """Ends the command with a signal, checks its exit code, and returns its stderr."""
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return err


class Server:
    """Stands in for the process of a tracker or a board, which ends at once by Ctrl-C."""

    def __init__(self, port: int) -> None:
        self.port, self.ended = port, False

    def wait_until_listening(self) -> int:
        return self.port

    def wait(self) -> None:
        raise KeyboardInterrupt

    def end(self) -> None:
        self.ended = True
