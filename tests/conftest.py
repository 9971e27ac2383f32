"""Settings and fixtures for every test, and where the time went."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tvmkd.boards.fleet import Fleet
    from tvmkd.stacks.worker_pool import Pool

# Two test processes share the cores: one thread for each, and small networks are no slower for it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts its background jobs with SIGINT ignored, and children inherit that: without this
# the tests that send Ctrl-C would wait for ever where the test run itself is such a job.
signal.signal(signal.SIGINT, signal.default_int_handler)

START = time.monotonic()
SHOWN = 15  # folders in the table of times
_seconds: dict[str, float] = defaultdict(float)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Puts the handlers of signals back: commands and servers that run in this process set some."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def workers() -> Iterator[Pool]:
    """Warm compiler workers, for fixtures that `warm_worker` does not reach."""
    from tvmkd.stacks import worker_pool

    class AnyTest(worker_pool.Pool):
        def environment(self, env: Mapping[str, str] | None) -> Mapping[str, str]:
            variables = {**super().environment(env)}
            variables.pop("PYTEST_CURRENT_TEST", None)
            return variables

    pool = AnyTest()
    yield pool
    pool.close()


@pytest.fixture
def extras(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Engines whose packages count as installed: none, until a test adds one."""
    from tvmkd.bench.engines.base import Engine

    found: set[str] = set()

    def lacks(cls: type[Engine], name: str) -> str | None:
        return f"{name} is not here" if cls.distribution and name not in found else None

    monkeypatch.setattr(Engine, "lacks_package", classmethod(lacks))
    return found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with the models that ONNX Runtime opens: a file's name, or ``bytes``."""
    import onnxruntime

    names: list[str] = []
    original = onnxruntime.InferenceSession

    def opened(model: bytes | str, *more: object, **options: object) -> object:
        names.append("bytes" if isinstance(model, bytes) else Path(model).name)
        return original(model, *more, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    return names


@pytest.fixture
def warm_worker(workers: Pool) -> Iterator[None]:
    """Compiler stacks run in workers that other tests have warmed up."""
    from tvmkd.stacks import worker_pool

    with worker_pool.shared(workers):
        yield


@pytest.fixture(scope="session")
def relax_stack() -> Iterator[object]:
    """One warm worker of the relax stack, for all tests that only lower, build or profile."""
    from tvmkd.stacks.client import StackClient

    with StackClient("relax") as client:
        yield client


@pytest.fixture(scope="session")
def relay_client() -> Iterator[object]:
    """One warm worker of the relay stack; skips the test where there is none to be had."""
    import relay_stack

    from tvmkd.stacks.client import StackClient

    with StackClient("relay", relay_stack.relay_python()) as client:
        yield client


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """A tracker and one board of this machine, for the tests that leave them alone."""
    from tvmkd.boards.fleet import running_fleet

    with running_fleet(1, key="tests", threads=1) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a long test that starts last keeps one process waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds the time of a test, its set-up and its end to its file's."""
    _seconds[report.nodeid.partition("::")[0]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long it took, and in which files: seconds of test processes, which run side by side."""
    if hasattr(terminalreporter.config, "workerinput") or len(_seconds) < SHOWN:
        return
    spent = sum(_seconds.values())
    terminalreporter.section(f"{time.monotonic() - START:.0f} s, of which tests ran {spent:.0f} s")
    for name, seconds in sorted(_seconds.items(), key=lambda item: -item[1])[:SHOWN]:
        terminalreporter.line(f"{seconds:7.1f} s  {Path(name)}")
