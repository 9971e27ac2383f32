"""Whether AVX-512 pays: measured once, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvmkd.base import machine, wide_registers
from tvmkd.base.errors import MissingError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wide_registers.pay.cache_clear()
    yield tmp_path / "tvmkd" / "host"
    wide_registers.pay.cache_clear()


@pytest.mark.parametrize(
    ("narrow", "wide", "pays"), [(2.0, 1.0, True), (1.0, 1.02, True), (1.0, 1.2, False)]
)
def test_it_pays_where_it_is_not_slower(
    narrow: float, wide: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wide_registers, "seconds", lambda: (narrow, wide))
    assert wide_registers.pay() is pays


def test_it_is_measured_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide_registers, "seconds", lambda: (1e-11, 2e-11))
    assert not wide_registers.pay()
    monkeypatch.setattr(wide_registers, "seconds", lambda: (2e-11, 1e-11))
    wide_registers.pay.cache_clear()
    assert not wide_registers.pay(), "another process would have measured again"
    (kept,) = own_cache.iterdir()
    assert json.loads(kept.read_text()) == {"avx512": False, "avx2_ns": 0.01, "avx512_ns": 0.02}
    for damaged in ("", "[]", "{}", "\x00"):
        kept.write_text(damaged)
        wide_registers.pay.cache_clear()
        assert wide_registers.pay(), damaged


def test_without_a_compiler_or_a_cache_there_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> tuple[float, float]:
        raise MissingError("no compiler")

    monkeypatch.setattr(wide_registers, "seconds", missing)
    assert not wide_registers.pay()
    wide_registers.pay.cache_clear()
    monkeypatch.setattr(wide_registers, "seconds", lambda: (2.0, 1.0))
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert wide_registers.pay()


@pytest.mark.skipif(
    not machine.cpu_features() >= machine.X86_64_V4, reason="this CPU has no AVX-512"
)
def test_both_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide_registers, "ROUNDS", 4)
    # A core does between one and a thousand multiply-adds in a nanosecond.
    assert all(1e-12 < each < 1e-9 for each in wide_registers.seconds())
