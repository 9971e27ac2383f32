"""Starts `tvmkd serve` for tests."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import toys

from tvmkd import artifact, targets

PAIR = [{"name": name, "shape": [1, 4], "dtype": "float32"} for name in ("x", "y")]


def make_toy(folder: Path, library: Path, **changes: Any) -> Path:
    """An artifact: (x, y) -> (x + y, x * y), float32 1 x 4."""
    fields: dict[str, Any] = {
        "name": "toy",
        "target": targets.load("host").to_dict(),
        "stack": "relax",
        "stack_version": "0.27.0",
        "onnx_sha256": "0" * 64,
        "inputs": PAIR,
        "outputs": [{**spec, "name": f"out_{spec['name']}"} for spec in PAIR],
        **changes,
    }
    artifact.write(folder, {"model.so": library}, **fields)
    return folder


def toy_library(folder: Path) -> Path:
    """The library of `make_toy`."""
    return toys.library(folder / "model.so")


@dataclass
class Running:
    """A server as a process.

    Attributes:
        process: of the command.
        facts: what it printed when it was ready.
        errors: its lines on stderr until now.
    """

    process: subprocess.Popen[str]
    facts: dict[str, Any]
    errors: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the REST server."""
        return str(self.facts["url"])

    @property
    def port(self) -> int:
        """Of the REST server."""
        return int(self.facts["http_port"])

    def end(self, number: signal.Signals = signal.SIGTERM, code: int = 0) -> None:
        """Ends it with a signal and checks its exit code."""
        self.process.send_signal(number)
        assert self.process.wait(60) == code, "".join(self.errors)


@contextlib.contextmanager
def serving(*argv: object, code: int | None = 0) -> Iterator[Running]:
    """A server at free ports, in the block; ended with SIGTERM, which must give exit code 0."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tvmkd", "serve", *map(str, argv)),
            *("--http-port", "0", "--grpc-port", "0", "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        running = Running(process, json.loads(line))
        stream = process.stderr
        reader = threading.Thread(target=lambda: running.errors.extend(stream), daemon=True)
        reader.start()
        yield running
        if process.poll() is None and code is not None:
            running.end(code=code)
    finally:
        process.kill()
        process.communicate()
