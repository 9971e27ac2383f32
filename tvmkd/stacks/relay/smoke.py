"""Compiles and runs one small function with Relay: ``python -m tvmkd.stacks.relay.smoke``.

It runs in the interpreter of the relay stack, and prints its versions as one line of JSON.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
from typing import Any

from tvmkd.base import stack_registry


def fit() -> None:
    """Trains the kind of cost model that tuning needs, on next to nothing."""
    import numpy as np
    import xgboost

    data = xgboost.DMatrix(np.eye(4), label=np.arange(4))
    xgboost.train({"max_depth": 1, "nthread": 1}, data, num_boost_round=1)


def add_one() -> dict[str, Any]:
    """Builds ``x + 1`` for this machine, runs it, compares, and returns TVM's versions.

    Raises:
        SystemExit: the numbers are wrong.
    """
    import numpy as np
    import tvm
    import tvm.auto_scheduler
    import tvm.autotvm
    import tvm.rpc
    from tvm import relay
    from tvm.contrib import graph_executor

    x = relay.var("x", shape=(1, 8), dtype="float32")
    module = tvm.IRModule.from_expr(relay.Function([x], x + relay.const(1.0)))
    # Always with a triple: the default one of this build is that of a RISC-V board.
    target = f"llvm -mtriple={platform.machine()}-linux-gnu"
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(module, target)
    executor = graph_executor.GraphModule(library["default"](tvm.cpu()))
    given = np.arange(8, dtype=np.float32).reshape(1, 8)
    executor.run(x=given)
    if not np.array_equal(executor.get_output(0).numpy(), given + 1):
        raise SystemExit("TVM computes something else than x + 1")
    return {"tvm": tvm.__version__, "llvm": int(tvm.target.codegen.llvm_version_major())}


def main() -> None:
    """Does both, and prints ``{"tvm", "llvm", "packages"}``."""
    # xgboost is one of these. Loaded after TVM, it aborts as soon as it trains ("free(): invalid
    # pointer").
    for name in stack_registry.get("relay").packages:
        importlib.import_module(name)
    found = add_one()
    fit()
    packages = {
        item.metadata["Name"].lower(): item.version for item in importlib.metadata.distributions()
    }
    print(json.dumps({**found, "packages": dict(sorted(packages.items()))}))


if __name__ == "__main__":
    main()
