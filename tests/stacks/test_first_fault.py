"""The operator that a compiler fails on: found with stand-ins, and with faults planted in TVM."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import graphs
import onnx
import pytest
import relay_stack

from tvmkd import targets
from tvmkd.base.errors import InputError, InternalError, MissingError, WorkerDied
from tvmkd.stacks import client, first_fault
from tvmkd.stacks.client import StackClient
from tvmkd.stacks.first_fault import BUILDS, LINE, Found, explained, find, ours

SHAPES = {"x": (1, 4)}
FAULT = "InternalError: KeyError at nn.py:33: 'axis'"


class Compiler:
    """Fails where one model holds all of ``operators``; notes how many nodes each part has."""

    def __init__(self, *operators: str, error: Callable[[int], str] = lambda _: FAULT) -> None:
        self._operators, self._error = set(operators), error
        self.parts: list[int] = []

    def __call__(self, part: Path) -> str:
        model = onnx.load(part)
        onnx.checker.check_model(model, full_check=True)
        held = {node.op_type for node in model.graph.node}
        self.parts.append(len(model.graph.node))
        return self._error(len(self.parts)) if self._operators <= held else ""


def chain(path: Path, *operators: str) -> Path:
    g = graphs.Graph(1, 4)
    for each in operators:
        g.add(each)
    return g.save(path)


@pytest.mark.parametrize("at", [0, 1, 19, 38, 39])
def test_one_operator_of_a_chain_is_found(at: int, tmp_path: Path) -> None:
    kinds = ["Tanh"] * 40
    kinds[at] = "Erf"
    compiler = Compiler("Erf")
    found = find(chain(tmp_path / "m.onnx", *kinds), SHAPES, FAULT, compiler)
    assert found is not None
    assert (found.nodes, found.exact) == ((("Erf", f"n{at}"),), True)
    assert [node.op_type for node in onnx.load_from_string(found.part).graph.node] == ["Erf"]
    assert len(compiler.parts) <= 9


def test_operators_that_fail_only_together_are_named_as_a_range(tmp_path: Path) -> None:
    kinds = ["Tanh"] * 12
    kinds[4], kinds[7] = "Erf", "Exp"
    found = find(chain(tmp_path / "m.onnx", *kinds), SHAPES, FAULT, Compiler("Erf", "Exp"))
    assert found is not None
    assert found.nodes == (("Erf", "n4"), ("Exp", "n7"))
    assert found.text == 'Erf (node "n4") to Exp (node "n7")'


def test_an_operator_beside_the_output_is_found(tmp_path: Path) -> None:
    g = graphs.Graph(1, 4)
    left = g.add("Tanh")
    right = g.add("Erf", data="x")
    end = g.add("Add", left, data=right)
    found = find(g.save(tmp_path / "m.onnx", end), SHAPES, FAULT, Compiler("Erf"))
    assert found is not None
    assert found.nodes == (("Erf", "n1"),)


@pytest.mark.parametrize(
    "compiler",
    [Compiler("Sin"), Compiler(), Compiler("Tanh", error=lambda count: "another error, of a part")],
    ids=["compiles when it is tried again", "fails on everything", "fails otherwise"],
)
def test_what_no_operator_is_to_blame_for_has_no_place(compiler: Compiler, tmp_path: Path) -> None:
    assert find(chain(tmp_path / "m.onnx", "Tanh", "Tanh"), SHAPES, FAULT, compiler) is None
    assert len(compiler.parts) <= 3


def test_the_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = chain(tmp_path / "m.onnx", *["Tanh"] * 30, "Erf")
    monkeypatch.setattr(first_fault, "SECONDS", -1.0)
    compiler = Compiler("Erf")
    found = find(path, SHAPES, FAULT, compiler)
    assert found is not None
    assert (found.text, len(compiler.parts)) == ('in or before Erf (node "n30")', 1)
    assert BUILDS < 30


TVM_FRAME = '  File "/lib/tvm/relax/op.py", line 7, in legalize\n'
OUR_FRAME = '  File "/lib/tvmkd/stacks/relax/layout.py", line 7, in visit\n'


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (OUR_FRAME + TVM_FRAME, False),
        (TVM_FRAME + OUR_FRAME, True),
        (OUR_FRAME + TVM_FRAME + '  File "/lib/numpy/core.py", line 1, in dot\n', False),
        ('  File "/workspace/src/relax/fuse.cc", line 9, in Run\n', False),
        ("", True),
    ],
)
def test_the_innermost_frame_says_whose_fault_it_is(details: str, expected: bool) -> None:
    error = InternalError("x")
    error.details = details
    assert ours(error) is expected
    died = WorkerDied("x")
    died.details = details
    assert not ours(died)


def test_the_line_is_short_and_has_the_exit_code_of_its_cause() -> None:
    found = Found((("Conv", "c" * 300), ("Relu", "r" * 300)), False, b"")
    error = InternalError("KeyError at nn.py:33: " + "long " * 100)
    error.details = OUR_FRAME
    raised = explained(Path("deep/" * 40) / "m.onnx", "relax", found, error, "do this")
    assert len(str(raised)) <= 300
    assert (raised.exit_code, raised.details) == (70, OUR_FRAME)
    error.details = TVM_FRAME
    raised = explained(Path("m.onnx"), "relay", Found(found.nodes[:1], True, b""), error, "do this")
    assert raised.exit_code == 4
    assert str(raised).startswith('m.onnx: the relay stack cannot compile Conv (node "ccc')
    assert str(raised).endswith("; do this")
    assert LINE < 300


# What fails in a worker's TVM: Tanh is not lowered, Sigmoid has no code.
PLANTED = {
    "relax": """
from tvm import ir, te, tirx as tir
def plant(name, compute):
    rule = lambda bb, call: bb.call_te(compute, call.args[0])
    ir.register_op_attr("relax." + name, "FLegalize", rule, 11)
""",
    "relay": """
from tvm import relay, target, te, tir
from tvm.relay.op.strategy.generic import wrap_topi_schedule
from tvm import topi
def plant(name, compute):
    @target.override_native_generic_func("planted_" + name)
    def strategy(attrs, inputs, out_type, target):
        made = relay.op.OpStrategy()
        made.add_implementation(
            lambda attrs, inputs, out_type: [compute(inputs[0])],
            wrap_topi_schedule(topi.generic.schedule_injective), name=name)
        return made
    relay.op.op.register_strategy(name, strategy, level=11)
""",
}
BOTH = """
import runpy
def raises(x):
    raise KeyError("no rule for this shape")
def no_code(x):
    odd = tir.op.Op.get(tir.__name__.rpartition(".")[2] + ".ptx_commit_group")
    return te.compute(x.shape, lambda *at: x(*at) + tir.Call("float32", odd, []), name="odd")
plant("tanh", raises)
plant("sigmoid", no_code)
runpy.run_module("tvmkd.stacks.worker", run_name="__main__", alter_sys=True)
"""


def planted(folder: Path, stack: str) -> Path:
    """An interpreter whose worker has the faults of `PLANTED`."""
    (folder / "worker.py").write_text(PLANTED[stack] + BOTH)
    python = relay_stack.relay_python() if stack == "relay" else sys.executable
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec {python} {folder}/worker.py "$3"\n')
    script.chmod(0o755)
    return script


LOWERING, CODE = ("Tanh", "KeyError at worker.py"), ("Sigmoid", "commit_group")


@pytest.mark.parametrize(("stack", "faults"), [("relax", [LOWERING, CODE]), ("relay", [CODE])])
def test_faults_of_tvm_name_the_operator(
    stack: str, faults: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = planted(tmp_path, stack)
    if stack == "relax":  # which runs where tvmkd does
        monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(client, "_advice", lambda ways, *_: f"try {ways[0][0]}")
    with StackClient(stack, python) as worker:
        for operator, cause in faults:
            path = chain(tmp_path / "m.onnx", "Exp", operator, "Neg")
            with pytest.raises(InputError) as caught:
                worker.build(path, targets.load("host").to_dict(), [], tmp_path / "out")
            text = str(caught.value)
            wanted = f'{path}: the {stack} stack cannot compile {operator} (node "n1"): '
            assert text.startswith(wanted), text
            assert cause in text
            assert text.endswith("try relay" if stack == "relax" else "try relax")
            assert len(text) <= 300


@pytest.mark.parametrize(
    ("fault", "advice"),
    [("", "try --stack relax, or rewrite"), ("InternalError: KeyError", "rewrite this")],
)
def test_another_stack_is_advised_only_if_it_compiles_the_part(
    fault: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StackClient, "_fault", lambda *_: fault)
    assert client._advice([("relax", "")], None, b"").startswith(advice)


def test_an_engine_in_regions_is_advised_where_no_other_stack_compiles_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StackClient, "_fault", lambda _, __, engine, ___: "" if engine else "no")
    ways = [("relax", ""), ("relax", "onnxruntime")]
    assert client._advice(ways, None, b"").startswith("try --byoc onnxruntime, or")


def test_another_stack_that_is_not_installed_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> str:
        raise MissingError("no relay")

    monkeypatch.setattr(client, "StackClient", absent)
    assert client._advice([("relay", "")], None, b"").startswith("try --stack relay, or")
