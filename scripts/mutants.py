"""Puts small bugs into one module, one at a time, and counts those that its tests notice.

    python scripts/mutants.py tvmkd/tuning/scheduler.py [tests/more.py …]

The bugs are mutmut's, with four kinds added below; strings that are text for people stay as they
are. mutmut's own runner leaves out constants and decorated functions, where many rules live, so
the loop is here: the libraries are imported once, then each bug gets a forked process, which loads
the changed module from memory (no file changes) and runs the module's mirror test. A bug on a
line that no test reaches counts as not noticed without a run. Processes that a test starts load
the unchanged module.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import libcst as cst  # noqa: E402
from libcst.metadata import (  # noqa: E402
    ByteSpanPositionProvider,
    MetadataWrapper,
    PositionProvider,
)
from mutmut.mutation.mutators import mutation_operators, operator_string  # noqa: E402

QUICK = "not (rpc or board or slow or gpu)"
NOT_LOADED = 71  # status of a run whose tests pass without the changed module
LEAST_SECONDS = 10.0  # the time limit of a run, or eight times what the unchanged module needs


# The kinds of bugs that mutmut lacks.

_OPPOSITE: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.LessThan: cst.GreaterThan,
    cst.LessThanEqual: cst.GreaterThanEqual,
    cst.GreaterThan: cst.LessThan,
    cst.GreaterThanEqual: cst.LessThanEqual,
}


def _opposite(node: cst.ComparisonTarget) -> Iterator[cst.CSTNode]:
    if type(node.operator) in _OPPOSITE:
        yield node.with_changes(operator=_OPPOSITE[type(node.operator)]())


def _ten_times(node: cst.BaseNumber) -> Iterator[cst.CSTNode]:
    if isinstance(node, cst.Float | cst.Integer) and node.evaluated_value:
        yield node.with_changes(value=repr(node.evaluated_value * 10))


def _swapped(node: cst.Call) -> Iterator[cst.CSTNode]:
    if isinstance(node.func, cst.Name) and node.func.value in {"min", "max", "isinstance"}:
        return
    for index in range(len(node.args) - 1):
        first, second = node.args[index : index + 2]
        if not (first.keyword or second.keyword or first.star or second.star):
            pair = first.with_changes(value=second.value), second.with_changes(value=first.value)
            yield node.with_changes(args=[*node.args[:index], *pair, *node.args[index + 2 :]])


def _left_out(node: cst.Expr) -> Iterator[cst.CSTNode]:
    if not isinstance(node.value, cst.BaseString):
        yield cst.Pass()


def _name_changed(node: cst.BaseString) -> Iterator[cst.CSTNode]:
    """mutmut's first change of a string, where it is a name and not text for people."""
    if isinstance(node, cst.SimpleString) and " " not in node.value:
        yield from list(operator_string(node))[:1]


OPERATORS: list[tuple[type, Callable[[Any], Iterable[cst.CSTNode]]]] = [
    *(pair for pair in mutation_operators if pair[1] is not operator_string),
    (cst.BaseString, _name_changed),
    (cst.ComparisonTarget, _opposite),
    (cst.BaseNumber, _ten_times),
    (cst.Call, _swapped),
    (cst.Expr, _left_out),
]


@dataclass(frozen=True)
class Mutant:
    """One bug: the module's changed source, the changed lines, and how it reads."""

    code: str
    first: int
    last: int
    change: str


class _Visitor(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, int, int, int]] = []
        self._statements: list[int] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
            return False
        if isinstance(node, cst.If) and _is_name(node.test, "TYPE_CHECKING"):
            return False
        if isinstance(node, cst.Call) and _is_name(node.func, "cast"):
            return False
        place = self.get_metadata(PositionProvider, node, None)
        if isinstance(node, cst.BaseStatement) and place is not None:
            self._statements.append(place.start.line)
        if place is not None and self._statements:
            for kind, operator in OPERATORS:
                if isinstance(node, kind):
                    for changed in operator(node):
                        lines = self._statements[-1], place.start.line, place.end.line
                        self.found.append((node, changed, *lines))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        place = self.get_metadata(PositionProvider, original_node, None)
        if isinstance(original_node, cst.BaseStatement) and place is not None and self._statements:
            self._statements.pop()


def _is_name(node: cst.CSTNode, name: str) -> bool:
    return isinstance(node, cst.Name) and node.value == name


def mutants(source: str) -> list[Mutant]:
    """Every bug that can be put into a module, each once, in the order of its lines."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor()
    wrapper.visit(visitor)
    spans = wrapper.resolve(ByteSpanPositionProvider)
    found: dict[str, Mutant] = {}
    before, data = source.splitlines(), wrapper.module.bytes
    for node, changed, statement, line, end in visitor.found:
        code = _replaced(wrapper.module, data, spans.get(node), node, changed)
        if code == source or code in found:
            continue
        try:
            compile(code, "mutant", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        after = code.splitlines()
        rest = after[line - 1 : end + len(after) - len(before)]
        old, new = (" ".join(" ".join(each).split()) for each in (before[line - 1 : end], rest))
        found[code] = Mutant(code, statement, end, f"{line}: {old}  →  {new}")
    return list(found.values())


def _replaced(
    module: cst.Module, data: bytes, span: Any, node: cst.CSTNode, changed: cst.CSTNode
) -> str:
    """The module's code with one node changed: in its text where that is safe, for speed."""
    if span is not None:
        start, end = span.start, span.start + span.length
        if data[start:end] == module.code_for_node(node).strip().encode():
            new = module.code_for_node(changed).strip().encode()
            return (data[:start] + new + data[end:]).decode()
    return module.deep_replace(node, changed).code  # type: ignore[arg-type,union-attr]


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> Any:
        return compile(self._code, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Gives the changed module in place of the file."""

    def __init__(self, name: str, path: Path, code: str) -> None:
        self._name, self._path, self._code = name, str(path), code
        self.used = False

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self._name:
            return None
        self.used = True
        loader = _Loader(fullname, self._path, self._code)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def _run_tests(arguments: Sequence[str], folder: Path) -> int:
    """Runs pytest in this process, silently. Returns its exit status."""
    import pytest

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return int(pytest.main([*arguments, f"--basetemp={folder / f'run{os.getpid()}'}"]))


def _forked(work: Callable[[], int], limit: float | None) -> int | None:
    """The exit status of ``work`` in a forked process; None when it took longer than ``limit``."""
    pid = os.fork()
    if pid == 0:
        os.setsid()  # so that processes which a test leaves behind end with it
        status = 70
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            status = work()
        finally:
            os._exit(status)
    end = None if limit is None else time.monotonic() + limit
    status = None
    while status is None and (end is None or time.monotonic() < end):
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
        else:
            time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if status is None:
        os.waitpid(pid, 0)
    return status


def _baseline(path: Path, arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """Runs the tests of the unchanged module: covered lines, modules loaded and seconds.

    Raises:
        SystemExit: they fail.
    """
    report = folder / "baseline.json"

    def work() -> int:
        from coverage import Coverage

        coverage = Coverage(data_file=None, include=[str(path)])
        coverage.start()
        status = _run_tests(arguments, folder)
        coverage.stop()
        lines = sorted(coverage.get_data().lines(str(path)) or [])
        names = [name for name in list(sys.modules) if _is_of_a_library(name)]
        report.write_text(json.dumps({"lines": lines, "names": names}))
        return status

    started = time.monotonic()
    status = _forked(work, None)
    if status != 0:
        command = " ".join([sys.executable, "-m", "pytest", *arguments])
        raise SystemExit(f"the tests of the unchanged module fail (status {status}): {command}")
    result: dict[str, Any] = json.loads(report.read_text())
    return {**result, "seconds": time.monotonic() - started}


def _is_of_a_library(name: str) -> bool:
    """True for modules of libraries, but of TVM, which has an import of its own."""
    package = name.partition(".")[0]
    path = getattr(sys.modules.get(package), "__file__", None) or ""
    return "site-packages" in path and package not in {"tvm", "tvm_ffi"}


def _preload(names: Iterable[str]) -> None:
    """Imports the libraries that the tests need, before the forks.

    tvmkd's own modules are left to each fork: a package among them may import the changed module.
    """
    for each in names:
        with contextlib.suppress(Exception):
            importlib.import_module(each)
    if os.environ.get("TVMKD_TESTS_INSIDE"):  # see tests/stacks/in_tvm.py
        sys.path.insert(0, str(ROOT / "tests" / "stacks"))
        importlib.import_module("in_tvm")
        for each in [each for each in sys.modules if each.partition(".")[0] in {"tvmkd", "in_tvm"}]:
            del sys.modules[each]
    gc.freeze()  # pytest collects garbage several times a run: not what is imported here


def mirror(path: Path) -> Path:
    """The mirror test of a module: ``tvmkd/a/b.py`` has ``tests/a/test_b.py``."""
    inside = path.relative_to(ROOT / "tvmkd")
    return ROOT / "tests" / inside.with_name(f"test_{inside.name}")


def main() -> int:
    """Prints the bugs that were not noticed and the share of those that were."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="*", type=Path, help="more tests than the mirror test")
    parser.add_argument("-m", "--markers", default=QUICK, help=f"pytest's -m ({QUICK!r})")
    parser.add_argument("-k", "--keyword", default="", help="pytest's -k")
    parser.add_argument("--lines", default="", help="only these lines: 10-40")
    parser.add_argument("--sample", type=int, help="so many of the bugs, drawn with a fixed seed")
    parser.add_argument("--at-least", type=float, default=85, help="per cent; below it: status 1")
    options = parser.parse_args()
    path = options.module.resolve()
    tests = [test for test in (mirror(path), *options.tests) if Path(test).exists()]
    if not tests:
        raise SystemExit(f"no {mirror(path).relative_to(ROOT)}: write it, or name other tests")
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-m", options.markers]
    arguments += ["-k", options.keyword] if options.keyword else []
    arguments += [str(test) for test in tests]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants") as text:
        folder = Path(text)
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = text
        sys.pycache_prefix, sys.dont_write_bytecode = text, False  # the tests are compiled once
        baseline = _baseline(path, arguments, folder)
        todo = mutants(path.read_text(encoding="utf-8"))
        if options.lines:
            low, high = (int(number) for number in options.lines.split("-"))
            todo = [mutant for mutant in todo if low <= mutant.last and mutant.first <= high]
        if options.sample and options.sample < len(todo):
            todo = random.Random(0).sample(todo, options.sample)
        _preload(baseline["names"])
        limit = max(LEAST_SECONDS, 8 * baseline["seconds"])
        covered = set(baseline["lines"])
        print(f"{options.module}: {len(todo)} bugs; the tests take {baseline['seconds']:.1f} s")
        noticed = 0
        for mutant in todo:
            reached = covered.intersection(range(mutant.first, mutant.last + 1))

            def work(mutant: Mutant = mutant) -> int:
                finder = _Finder(name, path, mutant.code)
                sys.meta_path.insert(0, finder)
                return _run_tests(arguments, folder) or (0 if finder.used else NOT_LOADED)

            status = _forked(work, limit) if reached else 0
            if status == NOT_LOADED:
                raise SystemExit(f"the tests ran without loading the changed {name}")
            if status != 0:
                noticed += 1
            else:
                why = "" if reached else "  (no test gets there)"
                print(f"  not noticed: {path.name}:{mutant.change}{why}", flush=True)
    score = 100 * noticed / max(1, len(todo))
    took = time.monotonic() - started
    print(f"{options.module}: {noticed} of {len(todo)} noticed, {score:.0f} % ({took:.0f} s)")
    return int(score < options.at_least)


if __name__ == "__main__":
    sys.exit(main())
