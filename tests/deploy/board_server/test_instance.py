"""An instance's process, without a server."""

from __future__ import annotations

import argparse
import asyncio
import struct
import time
from pathlib import Path

import pytest
import sample_library

from tvmkd import targets
from tvmkd.deploy import serve_file
from tvmkd.deploy.board_server import instance
from tvmkd.deploy.board_server.model import Model


def test_a_request_runs_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_file.write(tmp_path / "serve.py")
    # In serve.py, which is what the process runs, all modules are this file.
    monkeypatch.setattr(instance, "__file__", str(tmp_path / "serve.py"))
    library = sample_library.shared(targets.load("host"), tmp_path / "libsample.so")
    cpu = [0]
    given = {"instances": 1, "cpus": cpu, "threads": 0, "queue": 2}
    model = Model(str(library), "sample", argparse.Namespace(**given))

    async def run() -> tuple[list[bytes], int]:
        await model.load()
        inputs = [struct.pack("=4f", 1, 2, 3, 4), struct.pack("=3q", 1, 2, 3)]
        request = instance.Request({"inputs": inputs}, time.monotonic(), 0.0)
        model.submit(request)
        try:
            return await asyncio.wait_for(request.done, 20)
        finally:
            await model.drain(1)

    (y, total), exit_taken = asyncio.run(run())
    assert struct.unpack("=4f", y) == (3, 5, 7, 9)
    assert struct.unpack("=q", total) == (6,)
    assert exit_taken == 0
    assert model.instances[0].process is None
    assert model.facts["name"] == "sample"
