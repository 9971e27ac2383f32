"""Requests that are nearly right, by the thousand: no crash, no hang, no growth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance import Server, ask, metrics, request, total
from fuzz import check
from running import Running, serving

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")


@pytest.fixture(scope="module")
def running(toy: Path) -> Iterator[Running]:
    with serving(toy, "--no-grpc", "--max-body", "1", "--read-timeout", "5") as found:
        yield found


@pytest.mark.parametrize(
    ("count", "seed"),
    [(1000, 1), pytest.param(10_000, 2, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def test_malformed_requests(running: Running, count: int, seed: int) -> None:
    server = Server(
        running.url, "toy", reference=lambda x, y: [x + y, x * y], max_body=2**20, read_s=5
    )
    check(server, 200, seed + 100)  # so that everything is loaded once
    before = metrics(server)
    found = check(server, count, seed)
    after = metrics(server)
    assert sum(found.values()) == count
    assert found[400] > count / 3, found
    assert {200, 400, 404, 405, 415} <= set(found), found
    assert total(after, "tvmkd_instance_restarts_total") == 0
    assert running.process.poll() is None
    growth = (
        total(after, "process_resident_memory_bytes")
        - total(before, "process_resident_memory_bytes")
    )  # fmt: skip
    assert growth < 16 * 2**20
    inputs = server.inputs(7)
    server.check(inputs, ask(server, "POST", server.infer, *request(server, inputs)).outputs())
    assert "Traceback" not in "".join(running.errors), "".join(running.errors)
    assert total(after, "process_open_fds") < total(before, "process_open_fds") + 20
