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

from tvmkd.stacks.relax.templates import (
    attention,
    depthwise,
    depthwise_dot,
    dot,
    elementwise,
    packed,
    plain,
    reduction,
    rows,
    winograd,
)
from tvmkd.stacks.relax.templates.cost_model import cycles
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.templates.enumerated import EnumeratedSpace
from tvmkd.stacks.relax.templates.threads import with_threads

RANKED = {packed: "packed", depthwise: "depthwise", dot: "dot", depthwise_dot: "depthwise_dot",
          attention: "attention"}  # fmt: skip
"""Kinds whose configurations a cost model ranks."""
KINDS = (attention, packed, dot, depthwise_dot, depthwise, winograd, rows, reduction, elementwise)


def template_for(mod: tvm.IRModule, cpu: Cpu) -> EnumeratedSpace | None:
    """The space of a kernel, or None where no template knows it.

    Args:
        mod: a module with the one TIR function ``main``.
        cpu: of its target.
    """
    for kind in KINDS:
        configs = kind.configs(s_tir.Schedule(mod), cpu)
        if configs and kind in RANKED:
            configs = with_threads(configs, cycles(RANKED[kind], configs, kind.cycles, cpu), cpu)
        if configs:
            return EnumeratedSpace(mod, configs, kind.apply)
    return None


def plain_space(mod: tvm.IRModule, cpu: Cpu) -> EnumeratedSpace | None:
    """The space of simple schedules that every kernel has; None where there is nothing to do.

    Args:
        mod: a module with the one TIR function ``main``.
        cpu: of its target.
    """
    configs = plain.configs(s_tir.Schedule(mod), cpu)
    return EnumeratedSpace(mod, configs, plain.apply) if configs else None
