"""Tensors and modules of a TVM that is not there."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest


class Tensor:
    """A tensor whose memory is that of an array."""

    def __init__(self, array: Any, *, dlpack: bool = True) -> None:
        self.array = array
        self.dlpack = dlpack

    def numpy(self) -> Any:
        """A copy, as TVM makes one."""
        return self.array.copy()

    def __dlpack__(self, **options: Any) -> Any:
        if not self.dlpack:
            raise BufferError("no such type in DLPack")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def same(array: Any) -> Tensor:
    """A tensor in the array's memory."""
    return Tensor(array)


def copied(array: Any) -> Tensor:
    """A tensor with memory of its own."""
    return Tensor(np.array(array))


def without_dlpack(patch: pytest.MonkeyPatch, error: Exception) -> None:
    """Makes numpy's reading of tensors raise ``error``."""

    def fails(output: Any) -> Any:
        raise error

    patch.setattr(np, "from_dlpack", fails)


def install(patch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> Any:
    """Replaces ``tvm`` and its modules (dots as underscores) by these attributes.

    Returns:
        the module ``tvm``.
    """
    made = {name: ModuleType(name.replace("__", ".")) for name in modules}
    for name, module in made.items():
        vars(module).update(modules[name])
        parent, _, last = name.rpartition("__")
        if parent:
            setattr(made[parent], last, module)
        patch.setitem(sys.modules, module.__name__, module)
    return made["tvm"]
