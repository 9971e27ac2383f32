"""ONNX files in Relay: inputs, outputs, errors, which executor runs them, and the layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from in_tvm import INSIDE, inside

from tvmkd.base.errors import InputError

if INSIDE:
    import graphs
    import onnx
    import recurrent_models
    import tvm
    from onnx import TensorProto, helper
    from tvm import relay

    from tvmkd.export.check import ModelInfo, Tensor
    from tvmkd.stacks.relay import importer


def parsed(text: str, path: Path) -> Path:
    """A model of the ONNX text format in a file."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> net {text}')
    for entry in model.graph.output:
        if not entry.type.tensor_type.shape.dim:
            entry.type.tensor_type.ClearField("shape")
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def refusal(path: Path, **arguments: Any) -> str:
    try:
        importer.read(path, **arguments)
    except InputError as error:
        return str(error)
    return "it was read"


def kinds(mod: Any) -> list[str]:
    """The operators of ``main``, in order."""
    found: list[str] = []

    def visit(expr: Any) -> None:
        if isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op):
            found.append(expr.op.name)

    relay.analysis.post_order_visit(mod["main"], visit)
    return found


@inside("relay")
def test_inputs_and_outputs_have_their_names_shapes_and_types(tmp_path: Path) -> None:
    path = parsed(
        """(float[N, 3] x, float[2, 3] y) => (float s, int64 at) {
            s = Add(x, y)
            at = ArgMax<axis = 1, keepdims = 0>(s)
        }""",
        tmp_path / "m.onnx",
    )
    model = importer.read(path, {"N": 2})
    assert model.inputs == [
        {"name": "x", "shape": [2, 3], "dtype": "float32"},
        {"name": "y", "shape": [2, 3], "dtype": "float32"},
    ]
    assert model.outputs == [
        {"name": "s", "shape": [2, 3], "dtype": "float32"},
        {"name": "at", "shape": [2], "dtype": "int64"},
    ]
    assert not model.needs_machine
    assert model.sha256 == model.info.sha256
    assert [str(param.name_hint) for param in model.mod["main"].params] == ["x", "y"]
    assert importer.read(path).inputs[0]["shape"] == [1, 3]


@inside("relay")
def test_a_check_that_was_made_is_not_made_again(tmp_path: Path) -> None:
    path = parsed("(float[N, 3] x) => (float y) { y = Relu(x) }", tmp_path / "m.onnx")
    info = importer.check(path, {"N": 4})

    def check(*_: Any) -> None:
        raise AssertionError("checked twice")

    importer.check = check
    assert importer.read(path, info=info).inputs[0]["shape"] == [4, 3]


@inside("relay")
def test_weights_are_constants(tmp_path: Path) -> None:
    model = importer.read(graphs.two_convolutions(tmp_path / "m.onnx"))
    assert len(model.mod["main"].params) == 1
    (free,) = relay.analysis.free_vars(model.mod["main"].body)
    assert free.same_as(model.mod["main"].params[0])


@inside("relay")
def test_an_operator_that_relay_does_not_import_is_named(tmp_path: Path) -> None:
    path = parsed("(float[2, 3, 3] x) => (float[2] y) { [odd] y = Det(x) }", tmp_path / "m.onnx")
    said = refusal(path)
    assert said.startswith(f"{path}: ")
    assert "Det" in said
    assert "odd" in said
    known = importer.supported()
    assert {"Conv", "Constant", "If", "Loop", "Scan"} <= known
    assert "Det" not in known


END = "; try --stack relax, or rewrite this part of the model"


@inside("relay")
def test_the_node_is_named_whose_import_fails(tmp_path: Path) -> None:
    from tvm.relay.frontend import onnx as frontend

    def fail(*_: Any) -> None:
        raise ValueError("no such form")

    original = frontend._get_convert_map
    frontend._get_convert_map = lambda opset: {**original(opset), "Relu": fail}
    text = "(float[2, 3] x) => (float[2, 3] y) { t = Neg(x) [act] y = Relu(t) }"
    said = refusal(parsed(text, tmp_path / "m.onnx"))
    assert 'cannot import Relu (node "act"): no such form; try --stack relax' in said


@inside("relay")
def test_a_failure_of_the_import_is_its_last_line(tmp_path: Path) -> None:
    def fail(*_: Any, **more: Any) -> None:
        raise RuntimeError("Traceback:\n  File x\nthe reason\n")

    path = parsed("(float[2, 3] x) => (float y) { y = Relu(x) }", tmp_path / "m.onnx")
    relay.frontend.from_onnx = fail
    assert refusal(path) == f"{path}: TVM {tvm.__version__} cannot import it: the reason{END}"

    def fail_silently(*_: Any, **more: Any) -> None:
        raise KeyError

    relay.frontend.from_onnx = fail_silently
    assert refusal(path).endswith(f"cannot import it: KeyError{END}")


@inside("relay")
def test_shapes_that_depend_on_the_data_and_branches_need_a_virtual_machine(tmp_path: Path) -> None:
    model = importer.read(graphs.positions(tmp_path / "m.onnx"))
    assert model.needs_machine
    rows, axes = model.outputs[1]["shape"]
    assert (rows, axes) == (f"{model.outputs[1]['name']}.0", 4)
    branch = parsed(
        """(float[2] x, bool which) => (float[2] y) {
            e = Exp(x)
            y = If(which) <
                then_branch = one () => (float[2] a) { a = Exp(e) },
                else_branch = two () => (float[2] b) { b = Neg(e) }
            >
        }""",
        tmp_path / "branch.onnx",
    )
    assert importer.read(branch).needs_machine
    assert not importer.read(graphs.separable(tmp_path / "s.onnx")).needs_machine


@inside("relay")
def test_a_module_with_a_second_function_needs_a_virtual_machine() -> None:
    x = relay.var("x", shape=(2,))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.exp(x)))
    mod = relay.transform.InferType()(mod)
    model = importer.Model(None, mod, [], [])  # type: ignore[arg-type]
    assert not model.needs_machine
    y = relay.var("y", shape=(2,))
    mod["again"] = relay.Function([y], y)
    assert model.needs_machine


@inside("relay")
def test_convolutions_become_channels_last_with_weights_folded(tmp_path: Path) -> None:
    g = graphs.Graph(1, 3, 8, 8)
    g.conv(3, 8)
    g.add("Relu")
    g.conv(8, 8, kernel=1)
    g.add("Mul", g.weight(8, 1, 1))
    mod = importer.channels_last(importer.read(g.save(tmp_path / "m.onnx")).mod)
    found: list[Any] = []

    def visit(expr: Any) -> None:
        if isinstance(expr, relay.Call) and getattr(expr.op, "name", "") == "nn.conv2d":
            found.append((str(expr.attrs.data_layout), isinstance(expr.args[1], relay.Constant)))

    relay.analysis.post_order_visit(mod["main"], visit)
    assert found == [("NHWC", True)] * 2
    names = kinds(mod)
    # In at the first convolution, out after the last; the scale went into the weights.
    assert names.count("layout_transform") == 2
    assert "multiply" not in names


@inside("relay")
def test_free_sizes_are_written_into_the_inputs_only(tmp_path: Path) -> None:
    """A size that inference leaves free stays free; other inputs stay as they are."""
    free = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "M"])
    fixed = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph([node], "g", [free, fixed], [out]))
    info = ModelInfo(tmp_path, (Tensor("x", (4, "M"), "float32"),), (), "", 17, {}, {})
    done = importer._with_sizes(model, info)
    shapes = [
        [dim.dim_value or dim.dim_param for dim in entry.type.tensor_type.shape.dim]
        for entry in done.graph.input
    ]
    assert shapes == [[4, "M"], [2, 3]]


@inside("relay")
def test_recurrent_layers_come_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    graphs.onnx.save(recurrent_models.model("GRU", given="B"), path)
    model = importer.read(path)
    assert [out["shape"] for out in model.outputs] == [[4, 1, 2, 5], [1, 2, 5]]
    assert not model.needs_machine
