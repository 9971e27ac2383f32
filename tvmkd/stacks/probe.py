"""What TVM an interpreter has: run there by :mod:`tvmkd.stacks.survey`, as text after ``-c``.

It may be any Python from 3.7 on, with nothing of ours in it, so this file imports nothing else of
tvmkd and keeps to old syntax. It prints one line of JSON, the last one of its output.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from typing import Any


def probe(stack: str, needed: list[str]) -> dict[str, Any]:
    """The facts about this interpreter.

    Args:
        stack: ``relax`` or ``relay``.
        needed: names of modules that the worker imports.

    Returns:
        ``"absent"`` (needed modules that are not here), ``"versions"`` of Python and TVM,
        ``"problem"`` with its ``"kind"`` where TVM cannot be used, and what it was built with.
    """
    found: dict[str, Any] = {
        "python_version": list(sys.version_info[:2]),
        "absent": [name for name in needed if importlib.util.find_spec(name) is None],
    }
    if stack == "relax":
        # The main environment has torch, and tvm_ffi would import it.
        from tvmkd.runtime.tvm_process import without_torch

        without_torch()
    try:
        tvm = importlib.import_module("tvm")
        if getattr(tvm, "__file__", None) is None:  # a folder that happens to be called tvm
            raise ModuleNotFoundError(name="tvm")
        found["tvm"] = str(getattr(tvm, "__version__", "unknown"))
        importlib.import_module("tvm." + stack)
        llvm = tvm.get_global_func("target.llvm_version_major", True)
        found["llvm"] = None if llvm is None else int(llvm())
        found["cuda"] = tvm.get_global_func("target.build.cuda", True) is not None
        # Relay registers its codegen as a compiler pass, and this beside it.
        codegen = {"relay": "relay.ext.tensorrt.is_runtime_enabled"}.get(
            stack, stack + ".ext.tensorrt"
        )
        found["tensorrt"] = tvm.get_global_func(codegen, True) is not None
    except ModuleNotFoundError as error:
        kinds = {"tvm": "no tvm", "tvm." + stack: "no stack"}
        found.update(kind=kinds.get(error.name or "", "no module"), problem=error.name)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        found.update(kind="broken", problem=type(error).__name__ + ": " + lines[0])
    return found


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], sys.argv[2:])))
