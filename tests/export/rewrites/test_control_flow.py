"""Loops with a known number of rounds and branches with a known condition."""

from __future__ import annotations

import pytest
from lowered import left, same
from onnx import helper
from rewriting import text

from tvmkd.export.rewrites import control_flow

LOOP = """(float[2, 3] x) => (float y, float[k, 2, 3] z) {
    rounds = Constant<value = int64 {%s}>()
    go = Constant<value = bool {%d}>()
    scale = Constant<value = float {0.5}>()
    y, z = Loop(rounds, go, x) <body = inner (int64 i, bool c, float[2, 3] v) => (
            bool d, float[2, 3] w, float[2, 3] s) {
        d = Identity(c)
        n = Cast<to = 1>(i)
        a = Mul(v, scale)
        w = Add(a, n)
        s = Mul(w, x)
    }>
}"""


@pytest.mark.parametrize("rounds", [1, 4])
def test_a_loop_with_states_scans_and_values_from_outside(rounds):
    same(text(LOOP % (rounds, 1), 13), without="Loop")


def test_loops_in_loops_and_branches_in_loops():
    body = """(float[2] x, bool p) => (float y) {
        two = Constant<value = int64 {2}>()
        y = Loop(two, , x) <body = outer (int64 i, bool c, float[2] v) => (bool d, float[2] w) {
            d = Constant<value = bool {1}>()
            t = Loop(two, d, v) <body = inner (int64 j, bool e, float[2] a) => (
                    bool f, float[2] b) {
                f = Identity(e)
                s = Add(i, j)
                n = Cast<to = 1>(s)
                b = Add(a, n)
            }>
            w = If(p) <then_branch = one () => (float[2] g) { u = Neg(t) g = Exp(u) },
                       else_branch = other () => (float[2] h) { h = Mul(t, v) }>
        }>
    }"""
    result = same(text(body, 16), without="Loop")
    assert [node.op_type for node in result.graph.node].count("If") == 2


@pytest.mark.parametrize(
    ("rounds", "go", "reason"),
    [
        (0, 1, "has 0 iterations, but outputs"),
        (3, 0, "has 0 iterations"),
        (99, 1, "has 495 nodes in 99"),
    ],
)
def test_loops_that_stay(rounds, go, reason, monkeypatch):
    monkeypatch.setattr(control_flow, "MAX_NODES", 400)
    (found,) = left(text(LOOP % (rounds, go), 13)).values()
    assert found.startswith(f"Loop {reason}")


@pytest.mark.parametrize(
    ("rounds", "go", "goes_on", "reason"),
    [
        ("m", "", "Identity(c)", "has a number of iterations that is not constant"),
        ("three", "c0", "Identity(c)", "has a condition that is not constant"),
        ("three", "", "Not(c)", "has a condition that each iteration computes"),
    ],
)
def test_a_number_of_rounds_that_only_a_run_shows(rounds, go, goes_on, reason):
    body = f"""(float[2] x, int64 m, bool c0) => (float[2] y) {{
        three = Constant<value = int64 {{3}}>()
        y = Loop({rounds}, {go}, x) <body = inner (int64 i, bool c, float[2] v) => (
            bool d, float[2] w) {{ d = {goes_on} w = Neg(v) }}>
    }}"""
    assert left(text(body, 16)) == {"y": f"Loop {reason}"}


def test_a_scan_in_both_directions_along_other_axes():
    model = text(
        """(float[3] s, float[4, 5, 3] x) => (float[3] y, float[3, 4] z) {
            y, z = Scan<num_scan_inputs = 1>(s, a)
            a = Relu(x)
        }"""
    )
    body = text(
        """(float[3] u, float[5, 3] v) => (float[3] w, float[3] o) {
            m = ReduceMax<keepdims = 0>(v, axes)
            axes = Constant<value = int64[1] {0}>()
            w = Add(u, m)
            o = Identity(w)
        }"""
    ).graph
    body.node.sort(key=lambda node: "axes" not in node.output)
    model.graph.node.sort(key=lambda node: node.op_type == "Scan")
    scan = model.graph.node[1]
    scan.attribute.append(helper.make_attribute("body", body))
    for name, values in (
        ("scan_input_axes", [0]),
        ("scan_input_directions", [1]),
        ("scan_output_axes", [1]),
        ("scan_output_directions", [1]),
    ):
        scan.attribute.append(helper.make_attribute(name, values))
    same(model, without="Scan")


@pytest.mark.parametrize("taken", [0, 1])
def test_the_branch_that_is_taken(taken):
    body = f"""(float[2] x) => (float y) {{
        c = Constant<value = bool {{{taken}}}>()
        y = If(c) <then_branch = one () => (float p) {{ t = Neg(x) p = Exp(t) }},
                   else_branch = other () => (float q) {{ q = Identity(x) }}>
    }}"""
    same(text(body), without="If")
