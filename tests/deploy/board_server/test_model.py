"""The queue of a model; `test_serve_file` has its instances."""

from __future__ import annotations

import argparse
import asyncio
import time

import pytest

from tvmkd.deploy.board_server.instance import Request
from tvmkd.deploy.board_server.model import Model
from tvmkd.deploy.board_server.protocol import Fault


def options(**more: object) -> argparse.Namespace:
    given = {"instances": 1, "cpus": [], "threads": 0, "queue": 2, **more}
    return argparse.Namespace(**given)


def test_threads_follow_the_cpus() -> None:
    assert Model("x", "x", options()).threads == 0
    assert Model("x", "x", options(cpus=[0, 1, 2, 3], instances=2)).threads == 2
    assert Model("x", "x", options(cpus=[0, 1], threads=3)).threads == 3


def test_what_cannot_be_in_time_is_refused() -> None:
    async def check() -> None:
        model = Model("x", "x", options())
        model.service.add(0.010)
        now = time.monotonic()
        for _ in range(2):  # no instance is ready: they wait
            model.submit(Request({}, now, 0.0))
        with pytest.raises(Fault, match="would miss its deadline") as late:
            model.submit(Request({}, now, now + 0.015))
        assert late.value.kind == "late"
        assert "2 requests wait, so" in late.value.message
        model.waiting.clear()
        with pytest.raises(Fault, match=r"no instance is free, and a call would take about \d"):
            model.submit(Request({}, now, now + 0.005))
        for _ in range(2):
            model.submit(Request({}, now, 0.0))
        assert late.value.retry_after == 1
        with pytest.raises(Fault, match="the queue is full") as full:
            model.submit(Request({}, now, 0.0))
        assert full.value.kind == "queue_full"

    asyncio.run(check())


def test_a_deadline_ends_the_waiting() -> None:
    async def check() -> None:
        model = Model("x", "x", options())
        request = Request({}, time.monotonic(), time.monotonic() + 0.02)
        model.submit(request)
        with pytest.raises(Fault, match="before an instance was free"):
            await asyncio.wait_for(request.done, 5)
        assert not model.waiting
        assert model.statistics.deadline_misses == 1

    asyncio.run(check())
