"""Reads how much scratch memory a kernel takes from the runtime, while it is compiled."""

from __future__ import annotations

import re

import tvm

ALIGNMENT = 64
_TAKEN = re.compile(r"TVMBackendAllocWorkspace\([^,]+,[^,]+, (?:T\.\w+\()?(\d+)")


@tvm.instrument.pass_instrument
class Scratch:
    """A pass instrument.

    Attributes:
        bytes: what one thread may have at a time: every array of the kernel that does not lie on
            the stack, each rounded up to a multiple of `ALIGNMENT`.
    """

    def __init__(self) -> None:
        self.bytes = 0

    def run_after_pass(self, mod: tvm.IRModule, info: tvm.ir.transform.PassInfo) -> None:
        """Reads the module as soon as its arrays are calls of the runtime."""
        if info.name != "tirx.LowerTVMBuiltin":
            return
        for function in mod.functions.values():
            text = function.script()
            if "TVMBackendAllocWorkspace" in text:
                sizes = [int(size) for size in _TAKEN.findall(text)]
                self.bytes += sum(size + -size % ALIGNMENT for size in sizes)
