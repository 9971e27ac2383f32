"""The TVM module of a region: what is registered, when it is compiled, and that it saves itself."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_tvm import inside

from tvmkd.base import native
from tvmkd.byoc import region, regions


class Tvm:
    """The part of ``tvm_ffi`` that is used, and what was done with it."""

    def __init__(self, folder: Path) -> None:
        self.registered: dict[str, Any] = {}
        self.compiled: list[tuple[str, str, list[str], str]] = []
        self.loaded: list[str] = []
        self.calls: list[Any] = []
        self.__file__ = f"{folder}/tvm_ffi/__init__.py"
        self.__version__ = "1.2.3"

    def register_global_func(self, name: str, function: Any, *, override: bool) -> None:
        assert override, "a process may install twice"
        self.registered[name] = function

    def get_global_func(self, name: str) -> Any:
        assert self.loaded, "the native library defines it"

        def call(*arguments: Any) -> str:
            self.calls.append((name, *arguments))
            return f"result of {name}"

        return call

    def library(self, source: Path, language: str, flags: Sequence[str], made_with: str) -> Path:
        self.compiled.append((source.name, language, list(flags), made_with))
        return Path("/cache/region.so")


@pytest.fixture
def tvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tvm]:
    fake = Tvm(tmp_path)
    monkeypatch.setitem(sys.modules, "tvm_ffi", fake)
    monkeypatch.setattr(native, "library", fake.library)
    monkeypatch.setattr(ctypes, "CDLL", fake.loaded.append)
    regions._native.cache_clear()
    yield fake
    regions._native.cache_clear()


def test_installing_registers_both_functions_and_compiles_nothing(tvm: Tvm) -> None:
    regions.install(tvm, list)
    assert set(tvm.registered) == {regions.LOADER, regions.OPEN}
    assert tvm.compiled == []


def test_what_runs_a_region_makes_tensors_of_this_tvm(
    tvm: Tvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tensor(array: object) -> object:
        return array

    given: list[object] = []
    monkeypatch.setattr(region, "open_region", lambda *args: given.extend(args))
    regions.install(tvm, tensor)
    tvm.registered[regions.OPEN](b"bytes")
    assert given == [b"bytes", tensor]


def test_a_tvm_without_such_libraries_is_left_alone() -> None:
    regions.install(SimpleNamespace(), list)


def test_the_first_region_compiles_the_module_against_the_tvm_ffi_that_is_here(
    tvm: Tvm, tmp_path: Path
) -> None:
    assert regions.make("conv_0", b"bytes") == "result of tvmkd.region.make"
    root = tmp_path / "tvm_ffi"
    flags = ["-std=c++17", "-isystem", f"{root}/include", f"-L{root}/lib", "-ltvm_ffi"]
    assert tvm.compiled == [("region.cc", "c++", flags, "1.2.3")]
    assert tvm.loaded == ["/cache/region.so"]
    regions.install(tvm, list)
    assert tvm.registered[regions.LOADER](b"saved") == "result of tvmkd.region.load"
    assert tvm.calls == [
        ("tvmkd.region.make", "conv_0", b"bytes"),
        ("tvmkd.region.load", b"saved"),
    ]
    assert len(tvm.compiled) == len(tvm.loaded) == 1, "once a process"


@inside("relax")
def test_a_new_region_opens_at_its_first_call_a_loaded_one_at_once() -> None:
    import tvm

    opened: list[bytes] = []

    def open_region(data: bytes) -> Any:
        opened.append(bytes(data))
        return lambda value: value + len(data)

    regions.install(tvm, tvm.runtime.tensor)
    tvm.register_global_func(regions.OPEN, open_region, override=True)
    made = regions.make("conv_0", b"a\0b")
    assert opened == []
    assert [made["conv_0"](1), made["conv_0"](5)] == [4, 8]
    assert opened == [b"a\0b"]
    loaded = tvm.get_global_func(regions.LOADER)(b"conv_1\0cd\0e")
    assert opened == [b"a\0b", b"cd\0e"], "the symbol ends at the first NUL"
    assert loaded["conv_1"](1) == 5
    assert len(opened) == 2
