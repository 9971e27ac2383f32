"""How kernels on tensor cores are compiled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tvm
from tvm import tirx

FRAGMENTS = ("wmma.", "m16n8k8.")
"""How the scopes begin of what tensor cores compute with: by WMMA, and by MMA."""


def kernels(mod: tvm.IRModule) -> set[str]:
    """The names of a scheduled module's kernels that use tensor cores."""
    found = set()
    for var, function in mod.functions_items():
        if isinstance(function, tirx.PrimFunc):
            text = function.script()
            if any(fragment in text for fragment in FRAGMENTS):
                found.add(var.name_hint)
    return found


@contextlib.contextmanager
def compiling(mod: tvm.IRModule) -> Iterator[None]:
    """In the context, TVM compiles a scheduled module's kernels on tensor cores.

    TVM's storage rewriting would let a float32 buffer take the memory of a float16 one, which a
    later check of its own refuses. These kernels go without it; all others are compiled as they
    are alone, when they are measured. (TVM's own switch is for a whole module.)
    """
    names = kernels(mod)
    if not names:
        yield
        return
    original = tirx.transform.StorageRewrite

    @tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
    def of_the_others(mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        left = {var: func for var, func in mod.functions_items() if var.name_hint in names}
        others = {var: func for var, func in mod.functions_items() if var not in left}
        done = original()(tvm.IRModule(others, attrs=mod.attrs))
        return tvm.IRModule({**dict(done.functions_items()), **left}, attrs=mod.attrs)

    tirx.transform.StorageRewrite = lambda: of_the_others
    try:
        yield
    finally:
        tirx.transform.StorageRewrite = original
