from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_files import convolution
from rewriting import attributes, close, inputs, kinds, legal, refused, run, same, text
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.export import graph
from tvmkd.export.legalise import legalise
from tvmkd.export.onnx import export


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


@pytest.mark.parametrize(("given", "written"), [(7, 8), (8, 8), (9, 9), (10, 9)])
def test_the_format_is_one_that_the_importer_s_onnx_reads(given, written):
    model = convolution()
    model.opset_import[0].version = 13
    model.ir_version = given
    assert legal(model).ir_version == written


def test_shapes_are_known_behind_a_large_weight():
    """Its values are left out where shapes are inferred, its shape is not."""
    model = text(
        """(float[2, 50] x, float[50, 40] w) => (float y) {
            m = MatMul(x, w)
            a = Constant<value = int64[2] {0, -1}>()
            y = ReduceSum<keepdims = 0>(m, a)
        }"""
    )
    values = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(values, "w"))
    result = same(model, tolerance=1e-4)
    assert [entry.name for entry in result.graph.input] == ["x"]
    assert numpy_helper.to_array(result.graph.initializer[0]).shape == (50, 40)


def test_shapes_are_known_behind_a_group_normalisation():
    model = text(
        """(float[1, 4, 3] x, float[2] s, float[2] b) => (float y) {
            n = GroupNormalization<num_groups = 2>(x, s, b)
            a = Constant<value = int64[2] {1, -1}>()
            y = ReduceSum<keepdims = 0>(n, a)
        }"""
    )
    assert kinds(legal(model))[-2:] == ["ReduceSum", "ReduceSum"]


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
