"""Runs test functions where a stack's TVM is imported: one warm process, and a fork of it each.

A test function that `inside` decorates runs in a process of the stack's interpreter. That process
imports TVM once for all tests and loads nothing else; each call forks it, so that nothing one test
registers or changes reaches another, and a crash is that test's failure. Such a test file guards
its own imports of TVM with ``if INSIDE:``. Its functions get their arguments as JSON (an argument
annotated ``Path`` as a path) and return JSON.

With ``TVMKD_TESTS_INSIDE=relax`` the tests run in pytest's own process instead, which imports that
TVM: for a debugger, and for ``make mutants``.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import importlib.util
import json
import os
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
SERVES = __name__ == "__main__"
IN_PYTEST = os.environ.get("TVMKD_TESTS_INSIDE", "")
INSIDE = bool(SERVES or IN_PYTEST or os.environ.get("TVMKD_IN_TVM"))
"""Whether TVM may be imported here."""
TIMEOUT = 240.0  # seconds for one test


def inside(stack: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Has a test function run where the TVM of ``stack`` is imported."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if IN_PYTEST or os.environ.get("TVMKD_IN_TVM"):
            return function
        path = function.__code__.co_filename

        @functools.wraps(function)
        def run(*args: Any, **named: Any) -> Any:
            return call(stack, path, function.__name__, *args, **named)

        return run

    return decorate


def call(stack: str, path: str | Path, name: str, *args: Any, **named: Any) -> Any:
    """What the function ``name`` of the file ``path`` returns in a process of ``stack``."""
    params = {"path": str(path), "name": name, "args": args, "named": named}
    answer = _ask(stack, json.loads(json.dumps(params, default=str)))
    if answer.get("skipped") is not None:
        import pytest

        pytest.skip(answer["skipped"])
    if "failure" in answer:
        raise AssertionError(answer["failure"])
    return answer["result"]


def _ask(stack: str, params: dict[str, Any]) -> dict[str, Any]:
    from tvmkd.base.errors import WorkerDied

    try:
        answer: dict[str, Any] = _process(stack).call("run", params, timeout=TIMEOUT)
    except WorkerDied:
        _process.cache_clear()  # the next test gets a new one
        raise
    return answer


@functools.cache
def _process(stack: str) -> Any:
    from tvmkd.base.wire import Child

    python, env = sys.executable, {}
    if stack == "relay":
        import relay_stack

        from tvmkd.runtime.interpreters import Interpreter

        runs = Interpreter("relay", relay_stack.relay_python(), "the tests")
        python, env = runs.python, runs.environment()
    env = {**env, "PYTHONPATH": os.pathsep.join([env.get("PYTHONPATH", ""), *sys.path])}
    if stack == "relay":  # another Python version: not this one's packages
        root = str(HERE.parent.parent.parent)
        env["PYTHONPATH"] = os.pathsep.join([root, str(HERE.parent.parent), str(HERE.parent)])
    child = Child([python, str(HERE), stack], env={**env, "TVMKD_IN_TVM": stack})
    atexit.register(child.close)
    return child


# In the process with TVM.


def _import_compiler(stack: str) -> None:
    if stack == "relay":
        from tvmkd.runtime.relay_process import import_compiler
    else:
        from tvmkd.runtime.tvm_process import import_compiler
    import_compiler()
    if SERVES:  # what most tests import: once, before the forks
        importlib.import_module(f"tvmkd.stacks.{stack}.stack")


class _NoPytest(types.ModuleType):
    """Stands in for pytest where it is not installed: `raises`, and decorators without effect."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _NoPytest(name)

    @contextlib.contextmanager
    def raises(self, kind: type[BaseException], match: str = "") -> Iterator[None]:
        try:
            yield
        except kind as error:
            if not re.search(match, str(error)):
                raise
        else:
            raise AssertionError(f"no {kind.__name__} was raised")

    def __call__(self, *args: Any, **named: Any) -> Any:
        del named
        return args[0] if len(args) == 1 and callable(args[0]) else self


def _run(params: dict[str, Any], _emit: Any) -> dict[str, Any]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        with os.fdopen(write, "w", encoding="utf-8") as pipe:
            json.dump(_outcome(params), pipe)
        os._exit(0)  # what the parent's buffers hold is not this process's to write
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not text:
        code = os.waitstatus_to_exitcode(status)
        return {"failure": f"{params['name']}: its process ended with status {code}"}
    answer: dict[str, Any] = json.loads(text)
    return answer


def _outcome(params: dict[str, Any]) -> dict[str, Any]:
    try:
        spec = importlib.util.spec_from_file_location("file_of_tests", params["path"])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        function = getattr(module, params["name"])
        types_of = function.__annotations__
        names = function.__code__.co_varnames
        given = {**dict(zip(names, params["args"], strict=False)), **params["named"]}
        for name, value in given.items():
            if types_of.get(name) == "Path":
                given[name] = Path(value)
        return {"result": json.loads(json.dumps(function(**given), default=str))}
    except BaseException as error:
        if type(error).__name__ == "Skipped":
            return {"skipped": str(error)}
        return {"failure": _report(error)}


def _report(error: BaseException) -> str:
    """The traceback, and the variables of its last frame in a file of tests."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame for frame in frames if "/tests/" in frame.f_code.co_filename and frame.f_locals]
    found = ours[-1].f_locals if ours else {}
    shown = [f"  {name} = {value!r}"[:300] for name, value in found.items()]
    return "\n".join([text, *shown])


if IN_PYTEST:
    _import_compiler(IN_PYTEST)

if SERVES:
    if importlib.util.find_spec("pytest") is None:
        sys.modules["pytest"] = _NoPytest("pytest")
    _import_compiler(sys.argv[1])
    sys.modules["in_tvm"] = sys.modules["__main__"]
    from tvmkd.base import wire
    from tvmkd.base.prctl import die_with_parent

    die_with_parent()
    wire.serve({"run": _run})
