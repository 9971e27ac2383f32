"""The import of a Relay TVM: in which order, with which settings; with fakes of the packages."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import fake_tvm
import pytest

from tvmkd.base.errors import MissingError
from tvmkd.runtime import relay_process, relay_shims

LOGGERS = ("auto_scheduler", "te_compiler", "autotvm", "strategy", "tvm")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the import does besides, in order."""
    found: list[str] = []

    @contextlib.contextmanager
    def importing() -> Iterator[None]:
        found.append(f"TVM, TOPHUB_LOCATION={os.environ.get('TOPHUB_LOCATION')}")
        assert "xgboost" in sys.modules, "loaded after TVM, its training aborts"
        yield

    for name in ("TOPHUB_LOCATION", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that what the import sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "xgboost", ModuleType("xgboost"))
    monkeypatch.setattr(relay_process, "importing", importing)
    monkeypatch.setattr(relay_process, "defer", lambda name: found.append(f"defer {name}"))
    monkeypatch.setattr(relay_shims, "install", lambda: found.append("shims"))
    for name in LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    return found


def tvm(monkeypatch: pytest.MonkeyPatch, **parts: dict[str, Any]) -> Any:
    scope = SimpleNamespace(silent=False)
    attributes = {"__version__": "0.16", "autotvm": SimpleNamespace(GLOBAL_SCOPE=scope)}
    for name in ("tvm.auto_scheduler", "tvm.relay"):
        monkeypatch.setitem(sys.modules, name, None)
    return fake_tvm.install(monkeypatch, tvm=attributes, **parts)


def test_it_is_quiet_downloads_nothing_and_has_the_shims(
    monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    made = tvm(monkeypatch, tvm__auto_scheduler={}, tvm__relay={})
    assert relay_process.import_compiler() is made
    assert steps == ["defer scipy.stats", "TVM, TOPHUB_LOCATION=NONE", "shims"]
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert made.autotvm.GLOBAL_SCOPE.silent
    assert {logging.getLogger(name).level for name in LOGGERS} == {logging.ERROR}


def test_the_user_s_number_of_threads_is_kept(
    monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    tvm(monkeypatch, tvm__auto_scheduler={}, tvm__relay={})
    relay_process.import_compiler()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


def test_a_tvm_without_relay_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    tvm(monkeypatch)
    with pytest.raises(MissingError, match=r"TVM 0\.16 has no Relay .*tvmkd stack install relay"):
        relay_process.import_compiler()
    assert "shims" not in steps
