from __future__ import annotations

import re
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.runtime.standalone_program import NATIVE
from tvmkd.stacks.standalone import calls


def objects(folder: Path, *names: str) -> list[Path]:
    """Files with these names in their tables of strings."""
    path = folder / "k.o"
    path.write_bytes(b"\x7fELF\0" + b"".join(name.encode() + b"\0" for name in names))
    return [path]


def test_what_the_runtime_has(tmp_path: Path) -> None:
    assert calls.by_name("net", []) == frozenset()
    found = objects(tmp_path, ".tvm_func.tvm.contrib.sort.topk", "__TVMFFIFunctionCall", "memcpy")
    assert calls.by_name("net", found) == {"tvm.contrib.sort.topk"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".tvm_func.tvm.contrib.random.normal", "tvm.contrib.random.normal"),
        ("__TVMBackendGetFuncFromEnv", "__TVMBackendGetFuncFromEnv"),
    ],
)
def test_what_it_does_not_have(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^net: cannot be .* kernels call {re.escape(said)}, "):
        calls.by_name("net", objects(tmp_path, "__TVMBackendParallelLaunch", name))


def test_the_lists_are_those_of_the_c_files() -> None:
    text = "".join((NATIVE / f"{name}.c").read_text() for name in ("pool", "sort"))
    assert set(re.findall(r"^void \*(__TVM\w+) =", text, re.MULTILINE)) == calls.POINTERS
    assert set(re.findall(r'\{"(tvm\.contrib[\w.]+)",', text)) == calls.FUNCTIONS
