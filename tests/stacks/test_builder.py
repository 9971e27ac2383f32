"""Each stack's builder, and the one of the tests, has the protocol's methods and arguments."""

from __future__ import annotations

import ast
from pathlib import Path

import fake_builder
import pytest

from tvmkd.base import stack_registry
from tvmkd.stacks import builder

STACKS = Path(builder.__file__).parent
METHODS = {
    "ahead": ["self", "chosen", "*", "defaults"],
    "files": ["self", "library"],
    "over_rpc": ["self"],
    "library": ["self", "chosen", "path", "*", "defaults"],
    "fits": ["self", "task", "record"],
    "default_schedule": ["self", "task"],
    "kernel_facts": ["self", "chosen"],
}


def methods(source: str, ending: str) -> dict[str, list[str]]:
    """The public methods of the class whose name has this ending, with their parameters.

    The source is read, since a builder imports its TVM.
    """
    (found,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name.endswith(ending)
    ]
    return {
        node.name: [
            *(each.arg for each in node.args.args),
            *(["*"] if node.args.kwonlyargs else []),
            *(each.arg for each in node.args.kwonlyargs),
        ]
        for node in found.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def test_the_protocol_has_these_methods() -> None:
    source = Path(builder.__file__).read_text(encoding="utf-8")
    assert methods(source, "Builder") == METHODS
    assert set(builder.Builder.__annotations__) == {
        *("stack", "version", "runtime", "tasks", "byoc")
    }


@pytest.mark.parametrize("stack", stack_registry.names())
def test_a_stack_implements_the_protocol(stack: str) -> None:
    source = (STACKS / stack / "build.py").read_text(encoding="utf-8")
    assert {name: args for name, args in methods(source, "Builder").items() if name in METHODS} == (
        METHODS
    )


def test_the_fake_of_the_tests_implements_the_protocol() -> None:
    source = Path(fake_builder.__file__).read_text(encoding="utf-8")
    assert methods(source, "Builder") == METHODS
    made = fake_builder.FakeBuilder(fake_builder.task("a"))
    assert all(hasattr(made, name) for name in builder.Builder.__annotations__)


@pytest.mark.parametrize("stack", stack_registry.names())
def test_an_imported_model_says_what_the_protocol_asks(stack: str) -> None:
    (protocol,) = [
        node
        for node in ast.parse(Path(builder.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "Model"
    ]
    asked = {node.name for node in protocol.body if isinstance(node, ast.FunctionDef)}
    assert asked == {"info", "inputs", "outputs"}
    source = (STACKS / stack / "importer.py").read_text(encoding="utf-8")
    (model,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "Model"
    ]
    has = {node.name for node in model.body if isinstance(node, ast.FunctionDef)}
    has |= {
        node.target.id
        for node in model.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert asked <= has
