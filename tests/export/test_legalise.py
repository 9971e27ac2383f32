from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser
from onnx_files import convolution
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.export import graph
from tvmkd.export.legalise import legalise
from tvmkd.export.onnx import export

REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
}


def text(body: str, opset: int = 18, ir: int = 10) -> onnx.ModelProto:
    """``(float[2, 3] x) => (float y) { y = Relu(x) }`` as a model, ``y`` of any shape."""
    model = parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]> net {body}')
    for each in graph.graphs(model):
        for entry in each.output:
            if not entry.type.tensor_type.shape.dim:
                entry.type.tensor_type.ClearField("shape")
    return model


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def inputs(model: onnx.ModelProto, positive: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {}
    for entry in model.graph.input:
        kind = entry.type.tensor_type
        values = rng.standard_normal([dim.dim_value for dim in kind.shape.dim]) * 2
        if positive:
            values = np.abs(values) + 0.1
        feeds[entry.name] = np.asarray(values).astype(TYPES[kind.elem_type])
    return feeds


def close(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], tolerance: float) -> None:
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def legal(model: onnx.ModelProto, **arguments) -> onnx.ModelProto:
    """``legalise``, and what holds for each of its results."""
    before = model.SerializeToString()
    result = legalise(model, **arguments)
    assert model.SerializeToString() == before
    onnx.checker.check_model(result, full_check=True)
    assert result.ir_version <= 9
    assert 13 <= result.opset_import[0].version <= 17
    assert [entry.name for entry in result.graph.output] == [e.name for e in model.graph.output]
    return result


def same(
    model: onnx.ModelProto, positive: bool = False, tolerance: float = 1e-6, **arguments
) -> onnx.ModelProto:
    """A legalised model that gives the same outputs."""
    result = legal(model, **arguments)
    feeds = inputs(model, positive)
    weights = {tensor.name for tensor in model.graph.initializer}
    feeds = {name: value for name, value in feeds.items() if name not in weights}
    close(run(result, feeds), run(model, feeds), tolerance)
    return result


def refused(model: onnx.ModelProto, *fragments: str, **arguments) -> None:
    before = model.SerializeToString()
    with pytest.raises(InputError) as caught:
        legalise(model, "a.onnx", **arguments)
    message = str(caught.value)
    assert message.startswith("a.onnx: ")
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    assert model.SerializeToString() == before


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.nodes(model) if node.op_type != "Constant"]


def attributes(model: onnx.ModelProto, kind: str) -> dict[str, object]:
    (node,) = (node for node in model.graph.node if node.op_type == kind)
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def constant(model: onnx.ModelProto, kind: str, index: int) -> np.ndarray:
    """What the only node of a kind gets as one of its inputs."""
    (node,) = (node for node in model.graph.node if node.op_type == kind)
    values = {
        entry.output[0]: entry.attribute[0].t
        for entry in model.graph.node
        if entry.op_type == "Constant"
    }
    values |= {tensor.name: tensor for tensor in model.graph.initializer}
    return numpy_helper.to_array(values[node.input[index]])


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
        "ReduceMean has axes that another node computes (nodes: first)",
        "ReduceSum has axes that another node computes (nodes: second)",
        "Unsqueeze has axes that another node computes (nodes: third)",
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


def test_old_models_keep_their_meaning_and_their_metadata():
    model = text(
        """(float[2, 1, 3] x) => (float[1, 2, 1] y, float[2, 1, 3] z) {
            a = Unsqueeze<axes = [0]>(x)
            b = Squeeze<axes = [2]>(a)
            c = ReduceSum<axes = [-1], keepdims = 1>(b)
            y = Clip(c)
            p, q = Split<axis = 2, split = [2, 1]>(x)
            z = Concat<axis = 2>(q, p)
        }""",
        opset=11,
        ir=6,
    )
    helper.set_model_props(model, {"teacher": "residual"})
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    result = same(model)
    assert [(entry.key, entry.value) for entry in result.metadata_props] == [
        ("teacher", "residual")
    ]
    assert {entry.domain: entry.version for entry in result.opset_import} == {
        "": 13,
        "com.example": 1,
    }


def test_weights_among_the_inputs_are_constants():
    """As in all files of IR 3."""
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    kernel = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "kernel")
    model = text(
        """(float[2, 3] x, float[2, 3] kernel, int64[1] axes) => (float y) {
            s = Add(x, kernel)
            y = ReduceMean<keepdims = 0>(s, axes)
        }"""
    )
    model.graph.initializer.extend([kernel, axes])
    result = same(model)
    assert [entry.name for entry in result.graph.input] == ["x"]
    assert attributes(result, "ReduceMean") == {"axes": [1], "keepdims": 0}
    assert {tensor.name for tensor in result.graph.initializer} == {"kernel", "axes"}


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


def test_branches_of_old_models():
    model = text(
        """(float[2, 3, 4] x, bool which) => (float[2, 3, 4] y) {
            y = If(which) <
                then_branch = one () => (float[2, 3, 4] a) { e = Exp(x) a = LogSoftmax(e) },
                else_branch = two () => (float[2, 3, 4] b) { e2 = Exp(x) b = Hardmax(e2) }
            >
        }""",
        11,
        6,
    )
    result = legal(model)
    x = inputs(text("(float[2, 3, 4] x) => (float y) { y = Abs(x) }"))["x"]
    for which in (True, False):
        feeds = {"x": x, "which": np.array(which)}
        close(run(result, feeds), run(model, feeds), 1e-6)


def test_old_models_that_cannot_be_raised():
    refused(
        text("(float[2, 3] x) => (float[2, 3] y) { y = Swirl(x) }", 9, 4),
        "cannot be brought from opset 9 to 13",
        "export it with opset 13 or newer",
    )


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
        ("Mish(x)", 18, "Softplus Tanh Mul"),
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


def test_operators_that_are_not_in_it():
    refused(
        text(
            """(int64[2, 3] x, float[2, 4] f) => (int64 y, int64 z, float p, float q) {
                [first] y = BitwiseAnd(x, x)
                z = BitwiseNot(x)
                s = Constant<value = int64[2] {1, 2}>()
                [third] p = CenterCropPad(f, s)
                o = Optional(f)
                [fifth] q = OptionalGetElement(o)
                [sixth] h = OptionalHasElement(o)
            }"""
        ),
        "cannot be brought to opset 17",
        "BitwiseAnd is not in it (nodes: first)",
        "BitwiseNot is not in it (nodes: z)",
        "CenterCropPad is not in it (nodes: third)",
        "Optional has another meaning there (nodes: o)",
        "OptionalGetElement has another meaning there (nodes: fifth)",
        "OptionalHasElement has another meaning there (nodes: sixth)",
        "rewrite this part of the model",
    )
    refused(
        text(
            """(float[1, 4, 9] x) => (float y) {
                s = Constant<value = int64[2] {4, 4}>()
                b = Constant<value = int64[2] {2, 2}>()
                [back] y = Col2Im(x, s, b)
            }"""
        ),
        "Col2Im is not in it (nodes: back)",
    )
    refused(
        text("(float[1, 4, 1] x) => (float y) { [fft] y = DFT(x) }", 20),
        "DFT has another meaning there (nodes: fft)",
    )


def test_many_nodes_are_cut_short():
    body = " ".join(f"[n{index}] y{index} = BitwiseNot(x)" for index in range(8))
    refused(
        text(f"(int64[2] x) => (int64 y0) {{ {body} }}"), "(nodes: n0, n1, n2, n3, n4 and 3 more)"
    )


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


def test_quantisation_of_blocks_and_of_newer_types():
    refused(
        text(
            """(float[4, 4] x) => (float y, int8 z) {
                s = Constant<value = float[2, 4] {1, 1, 1, 1, 1, 1, 1, 1}>()
                t = Constant<value = float {0.5}>()
                q = QuantizeLinear<axis = 0, block_size = 2>(x, s)
                y = DequantizeLinear<axis = 0, block_size = 2>(q, s)
                [signed] z = QuantizeLinear<output_dtype = 3>(x, t)
            }""",
            21,
        ),
        "QuantizeLinear has block_size=2 (nodes: q)",
        "DequantizeLinear has block_size=2 (nodes: y)",
        "QuantizeLinear has output_dtype=3 (nodes: signed)",
    )
    refused(
        text("(float[4] x) => (float y) { [a] e = Cast<to = 17>(x) [b] y = Cast<to = 1>(e) }", 19),
        "Cast has tensors of type float8e4m3fn (nodes: a, b)",
    )
    refused(
        text("(bool[4] x) => (bool y) { [top] y = ReduceMax(x) }", 20),
        "ReduceMax has tensors of type bool (nodes: top)",
    )


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


def test_functions_are_inlined():
    body = """(float[2, 3, 4] x) => (float[2] y) { y = ours.middle(x) }
        <domain: "ours", opset_import: ["" : 18]>
        middle (a) => (b) {
            axes = Constant<value = int64[2] {1, 2}>()
            b = ReduceMean<keepdims = 0>(a, axes)
        }"""
    model = text(body)
    model.opset_import.append(helper.make_opsetid("ours", 1))
    result = same(model)
    assert not result.functions
    assert attributes(result, "ReduceMean") == {"axes": [1, 2], "keepdims": 0}
    model.functions[0].opset_import[0].version = 20
    refused(model, "middle", "export it with one opset")


def test_branches_are_rewritten_too():
    model = text(
        """(float[2, 3, 4] x, bool which) => (float[size] y) {
            axes = Constant<value = int64[2] {0, -1}>()
            [fork] y = If(which) <
                then_branch = one () => (float a) {
                    e = Exp(x)
                    n = Constant<value = int64[2] {-2, -1}>()
                    a = ReduceSum<keepdims = 0>(e, n)
                },
                else_branch = two () => (float b) { b = ReduceMean<keepdims = 0>(x, axes) }
            >
        }"""
    )
    result = legal(model)
    chains = [node for node in graph.nodes(result) if node.op_type == "ReduceSum"]
    assert len(chains) == 2
    x = inputs(text("(float[2, 3, 4] x) => (float y) { y = Abs(x) }"))["x"]
    for which in (True, False):
        feeds = {"x": x, "which": np.array(which)}
        close(run(result, feeds), run(model, feeds), 2e-6)


def test_a_refusal_inside_a_branch():
    model = text(
        """(int64[2] x, bool which) => (int64 y) {
            y = If(which) <
                then_branch = one () => (int64 a) { [inner] a = BitwiseNot(x) },
                else_branch = two () => (int64 b) { b = Identity(x) }
            >
        }"""
    )
    refused(model, "BitwiseNot is not in it (nodes: inner)")


def test_weights_and_notes():
    model = convolution()
    model.graph.node[0].metadata_props.add(key="file", value="net.py")
    model.graph.value_info.append(
        helper.make_tensor_value_info("mid", TensorProto.FLOAT, ["a"] * 4)
    )
    result = same(model)
    assert result.opset_import[0].version == 17
    assert result.ir_version == 9
    assert [tensor.name for tensor in result.graph.initializer] == ["kernel"]
    assert result.graph.initializer[0] == model.graph.initializer[0]
    assert [(entry.key, entry.value) for entry in result.metadata_props] == [
        ("teacher", "residual")
    ]
    assert not result.graph.node[0].metadata_props


def test_nodes_of_other_domains_stay():
    model = convolution(activation="Swirl", domain="com.example")
    result = legal(model)
    assert result.graph.node[-1].domain == "com.example"
    assert {entry.domain: entry.version for entry in result.opset_import} == {
        "": 17,
        "com.example": 1,
    }


def test_a_lower_opset():
    model = text("(float[2, 3] x) => (float y) { s = Shape(x) y = Reshape(x, s) }")
    assert same(model, opset=13).opset_import[0].version == 13
    model = text("(float[2, 3] x, float[3] s) => (float y) { [n] y = LayerNormalization(x, s) }")
    assert same(model).opset_import[0].version == 17
    refused(model, "LayerNormalization is not in it (nodes: n)", opset=16)


def test_opsets_that_are_not_known():
    model = convolution()
    with pytest.raises(InputError, match="opset 18: a model is brought to 13 to 17"):
        legalise(model, opset=18)
    model.opset_import[0].version = 99
    refused(model, "opset 99 is not read here", "export it with 7 to ")
    model.opset_import[0].version = 6
    refused(model, "opset 6 is not read here")
    del model.opset_import[:]
    refused(model, "does not say its opset")


def test_an_invalid_model():
    model = convolution()
    model.graph.node[1].input[0] = "nowhere"
    refused(model, "not a valid ONNX model", "nowhere")


class Small(nn.Module):
    """What people put into small networks and the importer stumbles over."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.norm(self.conv(x)).chunk(2, dim=1)
        y = torch.cat([nn.functional.gelu(left), nn.functional.mish(right)], dim=1)
        y = nn.functional.pad(y, (1, 0)) + y.sum((-2, -1), keepdim=True)
        y = y / y.norm(dim=1, keepdim=True) + y[..., -1:].unsqueeze(-1).squeeze(-1)
        return torch.softmax(self.head(y.mean((2, 3))), -1)


def test_what_torch_exports(tmp_path):
    torch.manual_seed(0)
    path = export(Small(), tmp_path / "net.onnx", (1, 3, 8, 8), opset=23)
    model = onnx.load(path)
    result = same(model, tolerance=2e-6)
    assert result.opset_import[0].version == 17
    assert "Mish" in kinds(model)
    assert not {"Gelu", "GroupNormalization", "Mish"} & set(kinds(result))
