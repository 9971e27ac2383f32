"""Each rewrite to an older opset keeps the outputs in ONNX Runtime, or refuses the node."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewriting import (
    attributes,
    close,
    constant,
    inputs,
    kinds,
    legal,
    refused,
    run,
    same,
    site,
    text,
)

from tvmkd.export.opset import REWRITES
from tvmkd.export.site import Refused, Scope, Site

REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


def reducing(kind: str, opset: int) -> onnx.ModelProto:
    """One node for each set of axes, with and without ``keepdims``."""
    nodes, weights, outputs = [], [], []
    sets = (None, [], [0], [-1], [1], [0, 2], [2, 0], [-1, -3], [0, -1], [-2, 3], [3, 2, 1, 0])
    by_input = opset >= 18 or kind == "Sum"
    for index, axes in enumerate(sets):
        for keep in (0, 1):
            name = f"y{index}_{keep}"
            given = {"keepdims": keep}
            names = ["x"]
            if axes is not None and by_input:
                names.append(f"axes{name}")
                weights.append(numpy_helper.from_array(np.array(axes, np.int64), names[-1]))
            elif axes:
                given["axes"] = axes
            nodes.append(helper.make_node(f"Reduce{kind}", names, [name], name, **given))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4, 5])
    made = helper.make_graph(nodes, "net", [x], outputs, weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [13, 18, 20])
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_reductions_have_axes_that_the_importer_reads(kind, opset):
    result = same(reducing(kind, opset), positive=kind == "LogSum", tolerance=2e-6)
    for node in result.graph.node:
        if node.op_type == "Constant":
            continue
        names = {entry.name for entry in node.attribute}
        assert "noop_with_empty_axes" not in names
        if kind == "Sum":
            assert "axes" not in names
        else:
            assert len(node.input) == 1
    if kind == "Sum":
        sizes = [node.attribute[0].t.dims for node in result.graph.node if not node.input]
        assert sizes
        assert all(list(size) == [1] for size in sizes)


def test_a_reduction_with_constant_axes_of_each_kind():
    result = same(
        text(
            """(float[2, 3, 4] x) => (float y, float z) {
                a = Constant<value_ints = [0, -1]>()
                b = Constant<value_int = 1>()
                c = Constant<value = int64[1] {1}>()
                y = ReduceMean<keepdims = 0>(x, a)
                z = ReduceMax(x, c)
            }"""
        )
    )
    means = [node for node in result.graph.node if node.op_type == "ReduceMean"]
    assert helper.get_node_attr_value(means[0], "axes") == [0, 2]
    constants = [node for node in result.graph.node if node.op_type == "Constant"]
    assert [entry.name for node in constants for entry in node.attribute] == ["value"] * 3


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("shape", ["[2, 3]", ""])
def test_a_reduction_over_nothing(kind, shape):
    """Without axes, and of a scalar, which the importer makes a vector."""
    model = text(
        f"(float{shape} x) => (float y) {{ y = Reduce{kind}<noop_with_empty_axes = 1>(x) }}"
    )
    result = legal(model)
    operators = {"L1": "Abs", "L2": "Abs", "LogSum": "Log", "SumSquare": "Mul"}
    assert kinds(result) == [operators.get(kind, "Identity")]
    feeds = inputs(model, positive=kind == "LogSum")
    maps = {"L1": np.abs, "L2": np.abs, "LogSum": np.log, "SumSquare": np.square}
    close(run(result, feeds), [np.asarray(maps.get(kind, np.asarray)(feeds["x"]))], 1e-6)


def test_axes_that_another_node_computes():
    refused(
        text(
            """(float[2, 3] x, int64[1] a) => (float y, float z, float u) {
                [first] y = ReduceMean(x, a)
                [second] z = ReduceSum(x, a)
                [third] u = Unsqueeze(x, a)
            }"""
        ),
        "ReduceMean has axes that are not constant (nodes: first)",
        "ReduceSum has axes that are not constant (nodes: second)",
        "Unsqueeze has axes that are not constant (nodes: third)",
        "rewrite this part of the model",
    )


def test_axes_of_an_input_without_a_rank():
    model = text(
        """(float[2, 3, 4] x, int64[3] s) => (float y) {
            n = NonZero(x)
            d = Reshape(x, s)
            a = Constant<value = int64[2] {-1, 0}>()
            [last] y = ReduceSum(d, a)
        }"""
    )
    model.graph.input[1].type.tensor_type.ClearField("shape")
    refused(model, "ReduceSum has negative axes and an input whose shape is not known", "last")


@pytest.mark.parametrize("kind", ["int64", "int32"])
def test_negative_indices(kind):
    model = text(
        f"""(float[3, 4, 5] x) => (float y, float z, float u) {{
            i = Constant<value = {kind}[2, 2] {{-1, 0, 2, -3}}>()
            j = Constant<value = {kind}[1, 1, 2] {{-5, 4}}>()
            k = Constant<value = {kind} {{-1}}>()
            y = Gather<axis = 1>(x, i)
            z = GatherElements<axis = -1>(x, j)
            u = Gather(x, k)
        }}"""
    )
    result = same(model, tolerance=0)
    assert constant(result, "GatherElements", 1).tolist() == [[[0, 4]]]
    first, last = (node for node in result.graph.node if node.op_type == "Gather")
    made = {node.output[0]: node.attribute[0].t for node in result.graph.node if not node.input}
    assert numpy_helper.to_array(made[first.input[1]]).tolist() == [[3, 0], [2, 1]]
    assert numpy_helper.to_array(made[last.input[1]]).tolist() == 2
    assert made[last.input[1]].data_type == made["k"].data_type


def test_indices_that_are_fine_stay():
    model = text(
        """(float[3, 4] x) => (float y) {
            i = Constant<value = int64[2] {1, 0}>()
            y = Gather(x, i)
        }"""
    )
    assert [node.op_type for node in same(model).graph.node] == ["Constant", "Gather"]


def test_negative_indices_on_an_axis_without_a_size():
    model = text(
        """(float[3, 4] x) => (int64 y) {
            n = NonZero(x)
            i = Constant<value = int64 {-1}>()
            [pick] y = Gather<axis = 1>(n, i)
        }"""
    )
    refused(model, "Gather has negative indices on an axis whose size is not known (nodes: pick)")


def test_negative_axes_of_unsqueeze_and_squeeze():
    """The importer would put the second of two negative axes elsewhere."""
    model = text(
        """(float[2, 1, 3, 1] x) => (float y, float z) {
            a = Constant<value = int64[2] {-2, -1}>()
            b = Constant<value = int64[2] {-1, 1}>()
            y = Unsqueeze(x, a)
            z = Squeeze(x, b)
        }""",
        opset=13,
    )
    result = same(model, tolerance=0)
    assert constant(result, "Unsqueeze", 1).tolist() == [4, 5]
    assert constant(result, "Squeeze", 1).tolist() == [3, 1]
    assert result.opset_import[0].version == 13


def test_squeeze_without_axes_stays():
    model = text("(float[2, 1, 3, 1] x) => (float y) { y = Squeeze(x) }", opset=21)
    assert kinds(same(model, tolerance=0)) == ["Squeeze"]


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", ["", "<axis = 0>", "<axis = 2>", "<axis = -1>", "<axis = -3>"])
def test_softmax_of_old_models(kind, axis):
    """Before 13 it took all axes from ``axis`` on."""
    model = text(f"(float[2, 3, 4, 5] x) => (float[2, 3, 4, 5] y) {{ y = {kind}{axis}(x) }}", 11, 6)
    result = same(model)
    assert result.opset_import[0].version == 13
    assert kinds(result)[-1] == (kind if axis == "<axis = -1>" else "Reshape")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("operator", "opset"), [("Upsample", 9), ("Resize", 10)])
def test_resize_of_old_models(mode, operator, opset):
    """Its only way was what became the mode "asymmetric", which is not the default."""
    body = """(float[1, 2, 4, 5] x) => (float y) {{
        s = Constant<value = float[4] {{1.0, 1.0, {}, 2.0}}>()
        [up] y = {}<mode = "{}">(x, s)
    }}"""
    result = same(text(body.format(1.5, operator, mode), opset, 6))
    found = attributes(result, "Resize")
    assert found["coordinate_transformation_mode"] == b"asymmetric"
    assert ("nearest_mode" in found) == (mode == "nearest")
    if (operator, mode) == ("Resize", "nearest"):
        refused(text(body.format(0.6, operator, mode), opset, 6), "Resize shrinks", "(nodes: up)")


def test_split_into_a_number_of_parts():
    model = text(
        """(float[2, 7] x) => (float p, float q, float r) {
            p, q, r = Split<axis = -1, num_outputs = 3>(x)
        }"""
    )
    result = same(model, tolerance=0)
    assert attributes(result, "Split") == {"axis": -1}
    assert constant(result, "Split", 1).tolist() == [3, 3, 1]


def test_split_of_an_axis_without_a_size():
    model = text(
        """(float[3, 4] x) => (int64 p, int64 q) {
            n = NonZero(x)
            [cut] p, q = Split<axis = 1, num_outputs = 2>(n)
        }"""
    )
    refused(model, "Split has num_outputs on an axis whose size is not known (nodes: cut)")


def test_pads_of_some_axes():
    model = text(
        """(float[2, 3, 4] x) => (float y, float z) {
            pads = Constant<value = int64[4] {1, 2, 3, 4}>()
            axes = Constant<value = int64[2] {-1, 0}>()
            fill = Constant<value = float {7.0}>()
            y = Pad(x, pads, fill, axes)
            z = Pad<mode = "reflect">(y, pads, , axes)
        }"""
    )
    result = same(model, tolerance=0)
    first, last = (node for node in result.graph.node if node.op_type == "Pad")
    assert len(first.input) == 3
    assert len(last.input) == 2
    made = {node.output[0]: node.attribute[0].t for node in result.graph.node if not node.input}
    assert numpy_helper.to_array(made[first.input[1]]).tolist() == [2, 0, 1, 4, 0, 3]


def test_pads_that_have_no_older_form():
    refused(
        text(
            """(float[2, 3] x, int64[2] p) => (float y, float z) {
                a = Constant<value = int64[1] {1}>()
                w = Constant<value = int64[4] {1, 1, 1, 1}>()
                [one] y = Pad(x, p, , a)
                [two] z = Pad<mode = "wrap">(x, w)
            }""",
            19,
        ),
        "Pad has axes, and pads, axes or an input's shape",
        'Pad has mode="wrap" (nodes: two)',
    )


def test_resize_at_its_defaults():
    model = text(
        """(float[1, 2, 4, 4] x) => (float y, float z) {
            s = Constant<value = float[4] {1.0, 1.0, 2.0, 1.5}>()
            t = Constant<value = int64[4] {1, 2, 3, 9}>()
            y = Resize<mode = "linear", antialias = 0, axes = [0, 1, 2, 3]>(x, , s)
            z = Resize<mode = "nearest", keep_aspect_ratio_policy = "stretch">(x, , , t)
        }"""
    )
    result = same(model)
    names = {entry.name for node in result.graph.node for entry in node.attribute}
    assert names == {"mode", "value"}


def test_resize_with_what_is_new():
    refused(
        text(
            """(float[1, 2, 4, 4] x) => (float y, float z, float u, float v) {
                s = Constant<value = float[4] {1.0, 1.0, 0.5, 0.5}>()
                r = Constant<value = float[2] {0.5, 0.5}>()
                t = Constant<value = int64[4] {1, 2, 3, 9}>()
                [a] y = Resize<mode = "linear", antialias = 1>(x, , s)
                [b] z = Resize<mode = "linear", axes = [2, 3]>(x, , r)
                [c] u = Resize<keep_aspect_ratio_policy = "not_larger">(x, , , t)
                [d] v = Resize<coordinate_transformation_mode = "half_pixel_symmetric">(x, , s)
            }""",
            19,
        ),
        "Resize has antialias=1 (nodes: a)",
        "Resize has axes (nodes: b)",
        "Resize has keep_aspect_ratio_policy=not_larger (nodes: c)",
        'Resize has coordinate_transformation_mode="half_pixel_symmetric" (nodes: d)',
    )


SCATTER = """(float[4, 2] x, float[1, 2] u) => (float y, float z) {{
    i = Constant<value = int64[1, 1] {{2}}>()
    j = Constant<value = int64[1, 2] {{3, 0}}>()
    [first] y = ScatterND<reduction = "{0}">(x, i, u)
    [second] z = ScatterElements<reduction = "{0}">(x, j, u)
}}"""


@pytest.mark.parametrize("reduction", ["none", "add", "mul"])
def test_scatter(reduction):
    result = same(text(SCATTER.format(reduction)))
    assert attributes(result, "ScatterND") == {"reduction": reduction.encode()}


@pytest.mark.parametrize("reduction", ["max", "min"])
def test_scatter_with_a_new_reduction(reduction):
    refused(
        text(SCATTER.format(reduction)),
        f'ScatterElements has reduction="{reduction}" (nodes: second)',
        f'ScatterND has reduction="{reduction}" (nodes: first)',
    )


def normalised(x: np.ndarray, groups: int, epsilon: float) -> np.ndarray:
    flat = x.reshape(x.shape[0], groups, -1).astype(np.float64)
    flat = (flat - flat.mean(2, keepdims=True)) / np.sqrt(flat.var(2, keepdims=True) + epsilon)
    return flat.reshape(x.shape)


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("shape", ["2, 6, 5, 3", "2, 6, 4"])
def test_group_normalization(opset, shape):
    """By hand: ONNX Runtime has it from 21 on only, since its scale was one of a group before."""
    count = 2 if opset == 18 else 6
    model = text(
        f"""(float[{shape}] x, float[{count}] s, float[{count}] b) => (float y) {{
            y = GroupNormalization<num_groups = 2, epsilon = 0.01>(x, s, b)
        }}""",
        opset,
    )
    result = legal(model)
    assert "InstanceNormalization" in kinds(result)
    feeds = inputs(model)
    x, scale, bias = (feeds[name] for name in "xsb")
    column = [-1] + [1] * (x.ndim - 2)
    scale, bias = (np.repeat(v, 6 // count).reshape(column) for v in (scale, bias))
    wanted = normalised(x, 2, 0.01) * scale + bias
    close(run(result, feeds), [wanted.astype(np.float32)], 5e-6)


@pytest.mark.parametrize(
    ("node", "opset", "operators"),
    [
        ("Mish(x)", 18, "Min Exp Add Mul Add Div Mul"),
        ("Gelu(x)", 20, "Mul Erf Add Mul Mul"),
        ('Gelu<approximate = "tanh">(x)', 20, "Mul Mul Mul Add Mul Tanh Add Mul Mul"),
        ("HardSwish(x)", 22, "HardSwish"),
        ("Elu<alpha = 0.5>(x)", 22, "Elu"),
    ],
)
def test_activations(node, opset, operators):
    model = text(f"(float[3, 50] x) => (float y) {{ [act] y = {node} }}", opset)
    result = same(model, tolerance=2e-6)
    assert kinds(result) == operators.split()
    assert result.graph.node[-1].name == "act"


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_swish(alpha):
    model = text(f"(float[3, 50] x) => (float y) {{ y = Swish<alpha = {alpha}>(x) }}", 23)
    if onnx.defs.onnx_opset_version() < 24:
        pytest.skip("this onnx has no Swish")
    model.opset_import[0].version = 24
    feeds = inputs(model)
    x = feeds["x"].astype(np.float64)
    wanted = x / (1 + np.exp(-alpha * x))
    close(run(legal(model), feeds), [wanted.astype(np.float32)], 1e-6)


def test_gelu_of_half_precision():
    model = text("(float16[3, 50] x) => (float16 y) { y = Gelu(x) }", 20)
    feeds = inputs(model)
    wide = text("(float[3, 50] x) => (float y) { y = Gelu(x) }", 20)
    (wanted,) = run(wide, {"x": feeds["x"].astype(np.float32)})
    close(run(legal(model), feeds), [wanted.astype(np.float16)], 5e-3)


def test_reshape_that_allows_zero_but_has_none():
    model = text(
        """(float[2, 6] x) => (float y, float z) {
            s = Constant<value = int64[3] {2, -1, 3}>()
            y = Reshape<allowzero = 1>(x, s)
            t = Shape(y)
            z = Reshape<allowzero = 1>(x, t)
        }"""
    )
    result = same(model, tolerance=0)
    assert all(not node.attribute for node in result.graph.node if node.op_type == "Reshape")


def test_reshape_with_a_size_of_zero():
    refused(
        text(
            """(float[2, 6] x, int64[2] t) => (float y, float z) {
                s = Constant<value = int64[2] {0, 6}>()
                a = Constant<value = int64[1] {0}>()
                n = Slice(x, a, a)
                [known] y = Reshape<allowzero = 1>(n, s)
                [unknown] z = Reshape<allowzero = 1>(x, t)
            }"""
        ),
        "Reshape has allowzero=1 and a size that may be 0 (nodes: known, unknown)",
    )


@pytest.mark.parametrize("kind", ["AveragePool", "LpPool"])
def test_pools(kind):
    body = "(float[1, 2, 8, 8] x) => (float y) {{ [pool] y = {}<kernel_shape = [2, 2]{}>(x) }}"
    plain = text(body.format(kind, ", dilations = [1, 1]"), 19)
    assert "dilations" not in attributes(same(plain), kind)
    refused(text(body.format(kind, ", dilations = [2, 1]"), 19), f"{kind} has dilations")


def test_max_pool_keeps_its_dilations():
    model = text(
        """(float[1, 2, 8, 8] x) => (float y) {
            y = MaxPool<kernel_shape = [2, 2], dilations = [2, 2]>(x)
        }""",
        22,
    )
    assert attributes(same(model), "MaxPool")["dilations"] == [2, 2]


def test_casts_and_quantisation():
    model = text(
        """(float[3, 4] x) => (float y, int64 z) {
            s = Constant<value = float {0.05}>()
            o = Constant<value = int8 {3}>()
            q = QuantizeLinear<saturate = 1, output_dtype = 3, block_size = 0>(x, s, o)
            y = DequantizeLinear<block_size = 0>(q, s, o)
            z = Cast<to = 7, saturate = 1>(x)
        }""",
        21,
    )
    result = same(model, tolerance=0)
    assert attributes(result, "QuantizeLinear") == {}
    assert attributes(result, "DequantizeLinear") == {}
    assert attributes(result, "Cast") == {"to": TensorProto.INT64}


def test_saturation_of_casts_to_other_types_says_nothing():
    model = text(
        """(float[4] x) => (float16 y, float16 z) {
            y = Cast<to = 10, saturate = 0>(x)
            z = CastLike<saturate = 0>(x, y)
        }""",
        19,
    )
    result = legal(model)
    assert attributes(result, "Cast") == {"to": TensorProto.FLOAT16}
    assert attributes(result, "CastLike") == {}
    feeds = inputs(model)
    close(run(result, feeds), [feeds["x"].astype(np.float16)] * 2, 0)


@pytest.mark.parametrize(("mode", "older"), [("linear", "bilinear"), ("cubic", "bicubic")])
def test_grid_sample(mode, older):
    body = "(float[1, 2, 5, 5] x, float[1, 3, 3, 2] g) => (float y) {{ y = GridSample{}(x, g) }}"
    model = text(body.format(f'<mode = "{mode}">'), 20)
    result = same(model, tolerance=1e-5)
    assert attributes(result, "GridSample") == {"mode": older.encode()}
    plain = text(body.format(""), 20)
    assert attributes(same(plain, tolerance=1e-5), "GridSample") == {"mode": b"bilinear"}


def test_roi_align_below_16():
    body = """(float[1, 1, 8, 8] x, float[1, 4] r, int64[1] b) => (float y) {{
        [roi] y = RoiAlign<coordinate_transformation_mode = "{}">(x, r, b)
    }}"""
    half, older = (text(body.format(mode), 17) for mode in ("half_pixel", "output_half_pixel"))
    refused(half, 'RoiAlign has coordinate_transformation_mode="half_pixel"', opset=15)
    assert "coordinate_transformation_mode" not in attributes(legal(older, opset=15), "RoiAlign")
    assert attributes(legal(half), "RoiAlign")["coordinate_transformation_mode"] == b"half_pixel"


# `d` gets its rank from the values of `s`: nothing of its shape is known beforehand.
UNKNOWN = """(float[2, 3, 4] x, int64[r] s) => (float y, float z) {{
    d = Reshape(x, s)
    {}
}}"""


@pytest.mark.parametrize(
    ("nodes", "opset", "reason"),
    [
        (
            "a = Constant<value = int64[1] {-1}>() [n] y = Unsqueeze(d, a)",
            18,
            "Unsqueeze has negative axes and an input whose shape is not known",
        ),
        (
            """o = Constant<value = float[2] {1.0, 1.0}>()
            [n] y = GroupNormalization<num_groups = 2>(d, o, o)""",
            18,
            "GroupNormalization has an input whose shape is not known",
        ),
        ("[n] y = GridSample(d, d)", 20, "GridSample has an input that is not [N, C, H, W]"),
        (
            """k = Constant<value = int64[2] {1, 1}>()
            a = Constant<value = int64[1] {0}>()
            [n] y = Pad(d, k, , a)""",
            18,
            "Pad has axes, and pads, axes or an input's shape that are not constant",
        ),
        ("[n] y, z = Split<num_outputs = 2>(d)", 18, "Split has num_outputs on an axis whose size"),
        ("u = Strange(x) [n] y = Gelu(u)", 20, "Gelu has an input whose type is not known"),
    ],
)
def test_what_is_not_known_is_refused(nodes, opset, reason):
    model = text(UNKNOWN.format(nodes), opset)
    for node in model.graph.node:
        if node.op_type == "Strange":
            node.domain = "com.example"
            model.opset_import.append(helper.make_opsetid("com.example", 1))
    refused(model, reason, "(nodes: n)")


def test_grids_of_three_dimensions_are_refused():
    model = text(
        """(float[1, 2, 3, 3, 3] x, float[1, 2, 2, 2, 3] g) => (float y) {
            [n] y = GridSample(x, g)
        }""",
        20,
    )
    refused(model, "GridSample has an input that is not [N, C, H, W] (nodes: n)")


def test_scales_that_another_node_computes_may_shrink():
    body = '(float[1, 2, 4, 4] x, float[4] s) => (float y) {{ [up] y = Resize<mode = "{}">(x, s) }}'
    refused(text(body.format("nearest"), 10, 6), "Resize shrinks by nearest neighbours")
    assert attributes(legal(text(body.format("linear"), 10, 6)), "Resize")["mode"] == b"linear"


# The rules by themselves, on one node: what a model needs to reach them is tested above.


@pytest.mark.parametrize(
    ("size", "count", "parts"),
    [(6, 3, [2, 2, 2]), (7, 3, [3, 3, 1]), (4, 3, [2, 2, 0]), (5, 4, None), (1, 3, None)],
)
def test_the_last_part_of_a_split_gets_what_is_left(size, count, parts):
    at = site(helper.make_node("Split", ["x"], ["y"], num_outputs=count), [size])
    if parts is None:
        with pytest.raises(Refused, match=rf"num_outputs={count} on an axis of size {size}$"):
            REWRITES["Split"](at)
        return
    REWRITES["Split"](at)
    (made,) = at.before
    assert numpy_helper.to_array(made.attribute[0].t).tolist() == parts
    assert list(at.node.input) == ["x", made.output[0]]


def test_the_product_of_two_axes_is_one_node_the_sum_one_for_each():
    axes = np.array([-1, 0])
    product = site(helper.make_node("ReduceProd", ["x", "a"], ["y"]), [2, 3, 4], a=axes)
    REWRITES["ReduceProd"](product)
    assert (product.attribute("axes"), product.before) == ([2, 0], [])
    total = site(helper.make_node("ReduceSum", ["x", "a"], ["y"]), [2, 3, 4], a=axes)
    REWRITES["ReduceSum"](total)
    first, partial, second = total.before
    # The last axis first: with keepdims=0 the others keep their numbers.
    assert numpy_helper.to_array(first.attribute[0].t).tolist() == [2]
    assert list(partial.input) == ["x", first.output[0]]
    assert numpy_helper.to_array(second.attribute[0].t).tolist() == [0]
    assert list(total.node.input) == [partial.output[0], second.output[0]]


def test_one_negative_axis_of_an_unknown_rank_is_kept_for_a_sum_and_refused_for_two():
    one = site(helper.make_node("ReduceSum", ["x", "a"], ["y"]), a=np.array([-1]))
    REWRITES["ReduceSum"](one)
    assert numpy_helper.to_array(one.before[0].attribute[0].t).tolist() == [-1]
    two = site(helper.make_node("ReduceSum", ["x", "a"], ["y"]), a=np.array([-1, 0]))
    with pytest.raises(Refused, match="negative axes and an input whose shape is not known"):
        REWRITES["ReduceSum"](two)


def test_a_hardmax_of_the_last_axis_says_so_since_the_default_was_another():
    at = site(helper.make_node("Hardmax", ["x"], ["y"]), [2, 3], source=12)
    REWRITES["Hardmax"](at)
    assert (at.node.op_type, at.attribute("axis"), at.before) == ("Hardmax", -1, [])


@pytest.mark.parametrize(
    ("name", "attributes", "source"),
    [
        ("Hardmax", {"axis": 1}, 13),
        ("GridSample", {"mode": "bilinear"}, 19),
        ("Pad", {"mode": "reflect"}, 18),
        ("Split", {"axis": 1}, 18),
        ("Reshape", {"allowzero": 0}, 18),
        ("ScatterND", {"reduction": "mul"}, 18),
        ("AveragePool", {"dilations": [1, 2]}, 19),
        ("Resize", {"mode": "linear", "axes": [0, 1]}, 18),
    ],
)
def test_what_means_the_same_there_stays_as_it_is(name, attributes, source):
    node = helper.make_node(name, ["x", "b"], ["y"], **attributes)
    before = onnx.NodeProto()
    before.CopyFrom(node)
    at = site(node, [2, 3, 4, 5], source=source)
    REWRITES[name](at)
    assert (node, at.before) == (before, [])


@pytest.mark.parametrize(("alpha", "operators"), [(1.0, ["Sigmoid"]), (2.0, ["Mul", "Sigmoid"])])
def test_a_swish_is_scaled_where_its_alpha_is_not_one(alpha, operators):
    at = site(helper.make_node("Swish", ["x"], ["y"], alpha=alpha))
    REWRITES["Swish"](at)
    assert [node.op_type for node in at.before if node.op_type != "Constant"] == operators


@pytest.mark.parametrize("given", [{}, {"epsilon": 0.5}])
def test_a_group_norm_keeps_its_epsilon(given):
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2, **given)
    at = site(node, [1, 4, 2])
    REWRITES["GroupNormalization"](at)
    (normal,) = (each for each in at.before if each.op_type == "InstanceNormalization")
    assert helper.get_node_attr_value(normal, "epsilon") == pytest.approx(
        given.get("epsilon", 1e-5)
    )


@pytest.mark.parametrize("shape", [None, [2, None, 4]])
def test_a_hardmax_of_old_models_needs_every_size(shape):
    node = helper.make_node("Hardmax", ["x"], ["y"], axis=1)
    at = site(node, shape, source=12)
    with pytest.raises(Refused, match="has an input whose shape is not known"):
        REWRITES["Hardmax"](at)
    REWRITES["Hardmax"](site(node, shape, source=13))
    assert (node.op_type, at.before) == ("Hardmax", [])


@pytest.mark.parametrize(
    ("source", "target", "mode", "refusal"),
    [
        (15, 15, "output_half_pixel", None),
        (17, 16, "half_pixel", None),
        (16, 15, "output_half_pixel", None),
        (16, 15, "half_pixel", 'has coordinate_transformation_mode="half_pixel"'),
        (16, 15, None, 'has coordinate_transformation_mode="half_pixel"'),
    ],
)
def test_roi_align_has_its_mode_from_16_on(source, target, mode, refusal):
    node = helper.make_node("RoiAlign", ["x", "r", "b"], ["y"])
    at = Site(node, Scope({}, {}, set(), source, target, {}))
    if mode is not None:
        at.set("coordinate_transformation_mode", mode)
    if refusal is not None:
        with pytest.raises(Refused, match=refusal):
            REWRITES["RoiAlign"](at)
        return
    REWRITES["RoiAlign"](at)
    dropped = source == 16 and target == 15
    assert at.attribute("coordinate_transformation_mode") == (None if dropped else mode)


@pytest.mark.parametrize(
    ("inputs", "dtype", "kept"),
    [
        (["x", "s", "o"], TensorProto.INT8, False),
        (["x", "s"], TensorProto.UINT8, False),
        (["x", "s"], TensorProto.INT8, True),
        (["x", "s", ""], TensorProto.INT8, True),
    ],
)
def test_the_type_of_a_quantised_tensor_is_dropped_where_it_says_nothing(inputs, dtype, kept):
    node = helper.make_node("QuantizeLinear", inputs, ["y"], output_dtype=dtype, saturate=0)
    REWRITES["QuantizeLinear"](site(node))
    assert [entry.name for entry in node.attribute] == (["output_dtype"] if kept else [])


@pytest.mark.parametrize("name", ["DFT", "Optional", "OptionalGetElement", "OptionalHasElement"])
def test_what_means_something_else_since_18_is_refused_from_there_on(name):
    node = helper.make_node(name, ["x"], ["y"])
    REWRITES[name](Site(node, Scope({}, {}, set(), 17, 17, {})))
    with pytest.raises(Refused, match="has another meaning there"):
        REWRITES[name](Site(node, Scope({}, {}, set(), 18, 17, {})))
