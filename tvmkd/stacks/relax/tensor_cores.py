"""How kernels on tensor cores are compiled."""

from __future__ import annotations

import tvm

FRAGMENTS = ("wmma.", "m16n8k8.")
"""How the scopes begin of what tensor cores compute with: by WMMA, and by MMA."""
UNSHARED = {"tirx.disable_storage_rewrite": True}


def config(mod: tvm.IRModule) -> dict[str, bool]:
    """The settings of TVM's passes that a scheduled module is compiled with.

    Where a kernel uses tensor cores, TVM's storage rewriting would let a float32 buffer take the
    memory of a float16 one, which a later check of its own refuses.
    """
    functions = (func for func in mod.functions.values() if isinstance(func, tvm.tirx.PrimFunc))
    texts = (func.script() for func in functions)
    used = any(fragment in text for text in texts for fragment in FRAGMENTS)
    return dict(UNSHARED) if used else {}
