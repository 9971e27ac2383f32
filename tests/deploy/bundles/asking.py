"""Starts a bundle's server and asks it over HTTP."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit


@contextlib.contextmanager
def served(command: Sequence[str]) -> Iterator[str]:
    """The server's address while the block runs; it listens on any free port."""
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--http-port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        try:
            assert line, process.stderr.read()
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            process.communicate(timeout=60)


def health(command: Sequence[str], url: str) -> int:
    """The exit code of ``--health``."""
    port = str(urlsplit(url).port)
    return subprocess.run([*command, "--http-port", port], stderr=subprocess.DEVNULL).returncode


def post(url: str, name: str, inputs: Sequence[Mapping[str, Any]]) -> Any:
    """The answer to a request for inference."""
    request = urllib.request.Request(
        f"{url}/v2/models/{name}/infer",
        json.dumps({"inputs": inputs}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def infer(url: str, name: str, x: list[float]) -> list[float]:
    """``y`` of the sample model for ``x``."""
    inputs = [
        {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": x},
        {"name": "counts", "shape": [3], "datatype": "INT64", "data": [1, 2, 3]},
    ]
    outputs = post(url, name, inputs)["outputs"]
    found: list[float] = next(each["data"] for each in outputs if each["name"] == "y")
    return found
