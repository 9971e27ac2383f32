"""Kernels in object files: in parallel, from the cache, and with the errors of the compiler."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from relax_graphs import const, module
    from tvm import relax

    from tvmkd.base.blob_cache import BlobCache
    from tvmkd.stacks.relax import importer, objects
    from tvmkd.stacks.relax.objects import Objects
    from tvmkd.stacks.relax.tasks import kernels

    TARGET = tvm.target.Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu"})


def functions() -> dict[str, Any]:
    def make(x: Any) -> Any:
        emit = relax.BlockBuilder.current().emit
        return relax.op.tanh(emit(relax.op.matmul(emit(relax.op.tanh(x)), const(4, 4))))

    mod = importer.fuse(module([(1, 4)], make), TARGET)
    return {name.name_hint: alone["main"] for name, alone, _ in kernels(mod)}


class Counting:
    """Gives a function, and notes in a file that it was asked for."""

    def __init__(self, function: Any, notes: Path) -> None:
        self._function, self._notes = function, notes

    def __call__(self) -> Any:
        with self._notes.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        return self._function


@inside("relax")
def test_equal_kernels_are_one_object_under_each_name(tmp_path: Path) -> None:
    found = functions()
    makers = {f"{name}_{i}": lambda f=f: f for name, f in found.items() for i in range(2)}
    with Objects(makers, TARGET, tmp_path, BlobCache(tmp_path / "cache")) as started:
        done = started.result()
    assert len(done.objects) == len(found)
    assert set(done.aliases) == {objects.PREFIX + name for name in makers}
    assert len(set(done.aliases.values())) == len(found)
    for path in done.objects:
        assert any(f"{symbol}\0".encode() in path.read_bytes() for symbol in done.aliases.values())


@inside("relax")
def test_what_the_cache_holds_is_not_compiled(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache")
    name, function = next(iter(functions().items()))
    key = objects.key_of(function.without_attr("global_symbol"), TARGET)
    cache.put(key, struct.pack("<Q", 4096) + b"an object")
    with Objects({name: lambda: function}, TARGET, tmp_path, cache) as started:
        done = started.result()
    assert done.objects[0].read_bytes() == b"an object"
    assert done.scratch == 4096


@inside("relax")
def test_the_key_changes_with_the_function_the_target_and_the_settings() -> None:
    one, other = list(functions().values())[:2]
    narrow = tvm.target.Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"})
    key = objects.key_of(one, TARGET)
    assert key == objects.key_of(one, TARGET)
    with tvm.transform.PassContext(config={"tirx.disable_vectorize": True}):
        changed = objects.key_of(one, TARGET)
    assert len({key, changed, objects.key_of(other, TARGET), objects.key_of(one, narrow)}) == 4


@inside("relax")
def test_every_process_compiles_and_each_kernel_once(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    makers = {name: Counting(function, notes) for name, function in functions().items()}
    with Objects(makers, TARGET, tmp_path, BlobCache(tmp_path / "cache")) as started:
        started.result()
    asked = notes.read_text().split()
    assert len(asked) == len(makers)
    assert str(os.getpid()) not in asked


@inside("relax")
def test_a_kernel_that_a_process_fails_on_is_compiled_here_for_its_error(tmp_path: Path) -> None:
    here = os.getpid()
    good = next(iter(functions().values()))

    def dies_elsewhere() -> Any:
        if os.getpid() != here:
            os._exit(7)
        return good

    def fails() -> Any:
        raise ValueError("no such schedule")

    cache = BlobCache(tmp_path / "cache")
    for count in (1, 5):
        makers = {f"k{i}": dies_elsewhere for i in range(count)}
        with Objects(makers, TARGET, tmp_path, cache) as started:
            assert len(started.result().aliases) == count
    (tmp_path / "new").mkdir()
    makers = {"good": lambda: good, "bad": fails}
    started = Objects(makers, TARGET, tmp_path / "new", cache)
    with started, pytest.raises(ValueError, match="no such schedule"):
        started.result()


@inside("relax")
def test_processes_end_with_the_block(tmp_path: Path) -> None:
    import time

    def slow() -> Any:
        time.sleep(60)

    with Objects({"a": slow, "b": slow}, TARGET, tmp_path) as started:
        children = list(started._children)
        assert children
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@inside("relax")
def test_without_kernels_nothing_is_started(tmp_path: Path) -> None:
    with Objects({}, TARGET, tmp_path) as started:
        assert started.result().objects == []
