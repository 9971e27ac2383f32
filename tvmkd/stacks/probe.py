"""What TVM an interpreter has: :mod:`tvmkd.stacks.survey` runs this text there, after ``-c``.

The interpreter may be any Python from 3.7 on, without tvmkd, so this file uses old syntax and
imports nothing of tvmkd that it can do without. The last line of its output is JSON.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from typing import Any


def probe(
    stack: str, needed: list[str], tensorrt_codegen: str, without_torch: bool
) -> dict[str, Any]:
    """The facts about this interpreter.

    Args:
        stack: the module of TVM that only this stack's generation has.
        needed: names of modules that the worker imports.
        tensorrt_codegen: global function that a TVM with code generation for TensorRT has.
        without_torch: keep TVM from importing torch, in the interpreter that tvmkd runs in.

    Returns:
        ``"absent"`` (needed modules that are not here), ``"versions"`` of Python and TVM,
        ``"problem"`` with its ``"kind"`` where TVM cannot be used, and what it was built with.
    """
    found: dict[str, Any] = {
        "python_version": list(sys.version_info[:2]),
        "absent": [name for name in needed if importlib.util.find_spec(name) is None],
    }
    if without_torch:
        from tvmkd.runtime import tvm_process

        tvm_process.without_torch()
    try:
        tvm = importlib.import_module("tvm")
        if getattr(tvm, "__file__", None) is None:  # a folder that happens to be called tvm
            raise ModuleNotFoundError(name="tvm")
        found["tvm"] = str(getattr(tvm, "__version__", "unknown"))
        importlib.import_module("tvm." + stack)
        llvm = tvm.get_global_func("target.llvm_version_major", True)
        found["llvm"] = None if llvm is None else int(llvm())
        found["cuda"] = tvm.get_global_func("target.build.cuda", True) is not None
        found["tensorrt"] = tvm.get_global_func(tensorrt_codegen, True) is not None
    except ModuleNotFoundError as error:
        kinds = {"tvm": "no tvm", "tvm." + stack: "no stack"}
        found.update(kind=kinds.get(error.name or "", "no module"), problem=error.name)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        found.update(kind="broken", problem=type(error).__name__ + ": " + lines[0])
    return found


if __name__ == "__main__":
    print(json.dumps(probe(**json.loads(sys.argv[1]))))
