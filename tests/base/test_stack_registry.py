from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tvmkd.base import stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.byoc.region import ENGINES
from tvmkd.tuning import autoscheduler_log, records, tuner_backend

PACKAGE = Path(stack_registry.__file__).parents[1]
REGISTRY = Path(stack_registry.__file__).relative_to(PACKAGE)


def named_stacks(text: str) -> list[int]:
    """Lines of a module with a string constant that is a stack's name, or an engine's of it."""
    names = {form for name in stack_registry.names() for form in (name, f"tvm:{name}")}
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and node.value in names
    ]


def test_a_name_is_found_wherever_it_stands() -> None:
    text = 'x = "relax"\ny = {"tvm:relay": 1}\nz = "the relay stack"\nif x == f"{y}": pass\n'
    assert named_stacks(text) == [1, 2]


def test_no_other_module_names_a_stack() -> None:
    own = {REGISTRY.parent / "stack_registry.py"}
    folders = {Path("stacks") / name for name in stack_registry.names()}
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE) not in own
        and not folders & set(path.relative_to(PACKAGE).parents)
        for line in named_stacks(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "take the name from tvmkd.base.stack_registry"


@pytest.mark.parametrize("entry", stack_registry.STACKS, ids=stack_registry.names())
def test_what_an_entry_points_to_is_there(entry: stack_registry.StackEntry) -> None:
    # The workers import TVM: only their files are looked at.
    module, _, name = entry.worker.partition(":")
    text = (PACKAGE.parent / module.replace(".", "/")).with_suffix(".py").read_text()
    assert f"class {name}:" in text
    for place in (entry.program, entry.remote_program, entry.installer):
        assert place is None or callable(stack_registry.load(place))
    backend = stack_registry.load(entry.tuner_backend)
    assert tuner_backend.of(entry.name) is backend
    for method in ("recorder", "spaces", "compile_object"):
        assert callable(getattr(backend, method))
    assert set(entry.byoc) <= set(ENGINES)
    assert entry.own_interpreter == (entry.installer is not None) == bool(entry.packages)


def test_record_files_are_those_that_records_are_read_from() -> None:
    files = {name for entry in stack_registry.STACKS for name in entry.record_files}
    assert files == {records.WORKLOADS, records.RECORDS, autoscheduler_log.LOG}


def test_the_default_stack_runs_in_this_interpreter() -> None:
    (default,) = (entry for entry in stack_registry.STACKS if entry.default)
    assert default.name == stack_registry.DEFAULT == stack_registry.names()[0]
    assert not default.own_interpreter


def test_engines_for_regions_are_listed_once() -> None:
    assert stack_registry.byoc_engines() == ("tensorrt", "tensorrt-rtx", "onnxruntime")


def test_an_unknown_name_comes_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        stack_registry.get("relai")
    known = ", ".join(stack_registry.names())
    assert str(caught.value).startswith('unknown stack "relai"; did you mean "rela')
    assert str(caught.value).endswith(f" (known: {known})")


def test_reading_the_registry_loads_no_stack() -> None:
    code = (
        "import sys, tvmkd.base.stack_registry as r; r.names(); r.get(r.DEFAULT)\n"
        "heavy = {'tvm', 'torch', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "mine = [m for m in sys.modules if m.startswith(('tvmkd.stacks', 'tvmkd.runtime'))]\n"
        "assert not mine, mine\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
