"""Starts ``tvmkd-server`` with the sample model, for tests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
from conformance import Server


class Running:
    """A server as a process."""

    def __init__(self, process: subprocess.Popen[str], facts: dict[str, Any]) -> None:
        self.process, self.facts = process, facts
        self.errors: list[str] = []

    @property
    def url(self) -> str:
        return str(self.facts["url"])

    def instances(self) -> list[int]:
        """The processes of its instances."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def server(self, **more: Any) -> Server:
        """For `conformance`: the sample under the name ``sample``."""
        facts: dict[str, Any] = {"max_body": 2**20, "read_s": 2.0, "model": "sample", **more}
        return Server(self.url, reference=reference, **facts)


def reference(x: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    return [2 * x + 1, counts.sum(keepdims=True)]


@contextlib.contextmanager
def running(*words: object, code: int | None = 0) -> Iterator[Running]:
    """A server at a free port; ended with SIGTERM, which must give exit code 0."""
    command = [*map(str, words), "--http-port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        found = Running(process, json.loads(line))
        stream = process.stderr
        threading.Thread(target=lambda: found.errors.extend(stream), daemon=True).start()
        yield found
        if code is not None and process.poll() is None:
            process.terminate()
            assert process.wait(60) == code, "".join(found.errors)
    finally:
        process.kill()
        process.wait()
