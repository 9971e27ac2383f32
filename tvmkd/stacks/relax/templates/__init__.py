"""Schedule templates: small enumerable spaces for the kernels that tvmkd lowers to.

MetaSchedule's general space has millions of members for a convolution and few good ones, and finds
one of them in thousands of trials. A kernel over packed weights has one good shape, a register
tile fed by one weight stream; what must be measured is the tile, the order of the outer loops and
what becomes of the padding. Those spaces hold tens to hundreds of members, best guess first, and
the traces they leave are plain MetaSchedule traces that any TVM replays.
"""

from __future__ import annotations

import tvm
from tvm import s_tir

from tvmkd.stacks.relax.templates import depthwise, elementwise, packed, reduction, winograd
from tvmkd.stacks.relax.templates.enumerated import EnumeratedSpace

KINDS = (packed, depthwise, winograd, reduction, elementwise)


def template_for(mod: tvm.IRModule, threads: int) -> EnumeratedSpace | None:
    """The space of a kernel, or None where no template knows it.

    Args:
        mod: a module with the one TIR function ``main``.
        threads: threads that the kernel may use on its target.
    """
    for kind in KINDS:
        configs = kind.configs(s_tir.Schedule(mod), threads)
        if configs:
            return EnumeratedSpace(mod, configs, kind.apply)
    return None
