"""Builds Relay modules for this machine's architecture and runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relay
from tvm.contrib import graph_executor

# In full: this LLVM's own default is another architecture.
PLAIN = "llvm -mtriple=x86_64-linux-gnu"


def run(
    mod: Any, inputs: Sequence[np.ndarray], config: Mapping[str, Any] | None = None
) -> list[np.ndarray]:
    """The outputs of a module on some inputs, in the order of its parameters."""
    with tvm.transform.PassContext(opt_level=3, config=dict(config or {})):
        library = relay.build(mod, target=tvm.target.Target(PLAIN))
    program = graph_executor.GraphModule(library["default"](tvm.cpu()))
    for place, array in enumerate(inputs):
        program.set_input(place, array)
    program.run()
    return [program.get_output(at).numpy() for at in range(program.get_num_outputs())]
