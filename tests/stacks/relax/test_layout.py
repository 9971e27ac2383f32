"""The channels-last pass: every rewritten graph computes the same, and the right ones are."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from relax_graphs import const, module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax import layout
    from tvmkd.stacks.relax.templates.cpu import Cpu

    op, nn = relax.op, relax.op.nn

IMAGE = (2, 8, 6, 5)
CUBE = (1, 6, 6, 6)


def conv(x: Any, outer: int = 8, kernel: tuple[int, int] = (3, 3), **attrs: Any) -> Any:
    """A convolution: what comes out of it is channels last."""
    inner = int(x.ty.shape[1]) // attrs.get("groups", 1)
    attrs = {"padding": (kernel[0] // 2, kernel[1] // 2), **attrs}
    return nn.conv2d(x, const(outer, inner, *kernel, low=-0.5), **attrs)


def upward(x: Any, outer: int, kernel: tuple[int, int], **attrs: Any) -> Any:
    """A transposed convolution."""
    per_group = outer // attrs.get("groups", 1)
    attrs = {"strides": 2, **attrs}
    weight = const(int(x.ty.shape[1]), per_group, *kernel, low=-0.5)
    return nn.conv2d_transpose(x, weight, **attrs)


def ready(x: Any) -> Any:
    """Channels last without a convolution's sums: rounding errors stay small."""
    return emitted(nn.conv2d(x, relax.const(_identity(int(x.ty.shape[1])))))


def _identity(channels: int) -> Any:
    return np.eye(channels, dtype="float32").reshape(channels, channels, 1, 1) * 1.5


def emitted(value: Any) -> Any:
    """Normalised, so that its shape can be asked for."""
    return relax.BlockBuilder.current().emit(value)


def shuffled(x: Any, axes: tuple[int, ...] = (0, 2, 1, 3, 4), out: Any = None) -> Any:
    n, c, h, w = (int(size) for size in x.ty.shape)
    split = emitted(op.reshape(x, (n, 2, c // 2, h, w)))
    swapped = emitted(op.permute_dims(split, axes))
    return op.reshape(swapped, out or (n, c, h, w))


def pictured(x: Any) -> Any:
    """Tokens ``[N, 30, C]`` as an image of 6 x 5."""
    n, _, c = (int(size) for size in x.ty.shape)
    return emitted(op.reshape(emitted(op.permute_dims(x, (0, 2, 1))), (n, c, 6, 5)))


def tokens(x: Any) -> Any:
    """The other way round."""
    x = emitted(x)
    n, c, *_ = (int(size) for size in x.ty.shape)
    return op.permute_dims(emitted(op.reshape(x, (n, c, 30))), (0, 2, 1))


CASES: dict[str, tuple[list[Any], Any]] = {
    # Convolutions: two images each.
    "conv": ([IMAGE], conv),
    "conv ragged": ([IMAGE], lambda x: conv(x, 5)),
    "conv uneven kernel": ([IMAGE], lambda x: conv(x, 8, (1, 3))),
    "conv uneven strides": ([IMAGE], lambda x: conv(x, strides=(2, 1))),
    "conv dilated downwards": ([(2, 8, 9, 8)], lambda x: conv(x, dilation=(2, 1))),
    "conv dilated across": ([(2, 8, 8, 9)], lambda x: conv(x, dilation=(1, 2))),
    "conv four pads": ([IMAGE], lambda x: conv(x, padding=(0, 1, 2, 3))),
    "conv two pads": ([IMAGE], lambda x: conv(x, padding=(2, 0))),
    "depthwise": ([IMAGE], lambda x: conv(x, groups=8)),
    "depthwise dilated across": ([(2, 8, 8, 9)], lambda x: conv(x, groups=8, dilation=(1, 2))),
    "depthwise dilated downwards": ([(2, 8, 9, 8)], lambda x: conv(x, groups=8, dilation=(2, 1))),
    "depthwise uneven": (
        [IMAGE],
        lambda x: conv(x, 8, (1, 3), groups=8, strides=(1, 2), padding=(0, 1, 2, 3)),
    ),
    "groups are outputs but not inputs": ([IMAGE], lambda x: conv(x, 4, groups=4)),
    "groups are inputs but not outputs": ([IMAGE], lambda x: conv(x, 16, groups=8)),
    "two groups": ([IMAGE], lambda x: conv(x, 8, groups=2)),
    "two groups of whole blocks": ([IMAGE], lambda x: conv(x, 16, groups=2)),
    "three groups in pairs of blocks": ([(1, 6, 4, 5)], lambda x: conv(x, 48, groups=3)),
    "groups in fours": ([(1, 16, 4, 5)], lambda x: conv(x, 16, groups=8)),
    "too many odd groups": ([(1, 18, 4, 5)], lambda x: conv(x, 9, groups=9)),
    "one axis": (
        [(2, 8, 9)],
        lambda x: nn.relu(
            emitted(nn.conv1d(x, const(5, 8, 3, low=-0.5), strides=2, padding=(1, 2)))
        ),
    ),
    "three axes": (
        [(2, 4, 3, 6, 5)],
        lambda x: nn.conv3d(
            x, const(8, 4, 3, 2, 1, low=-0.5), strides=(1, 2, 1), padding=(1, 0, 2)
        ),
    ),
    "depthwise on one axis": (
        [(2, 8, 9)],
        lambda x: nn.conv1d(x, const(16, 1, 3, low=-0.5), padding=1, groups=8),
    ),
    "transposed convolution": ([IMAGE], lambda x: upward(x, 8, (4, 4), padding=1)),
    "transposed with a larger output": (
        [IMAGE],
        lambda x: upward(x, 5, (3, 2), padding=(1, 0), output_padding=1),
    ),
    "transposed without overlap": ([IMAGE], lambda x: upward(x, 8, (2, 2))),
    "transposed with gaps": ([IMAGE], lambda x: upward(x, 8, (2, 1), strides=3)),
    "transposed in groups": ([IMAGE], lambda x: upward(x, 6, (4, 3), groups=2, padding=1)),
    "transposed with stride 1": ([IMAGE], lambda x: upward(x, 8, (3, 3), strides=1, padding=2)),
    "transposed depthwise": ([IMAGE], lambda x: upward(x, 8, (4, 4), groups=8, padding=1)),
    "transposed with dilation": ([IMAGE], lambda x: upward(x, 8, (3, 3), dilation=2)),
    "transposed on one axis": (
        [(2, 8, 9)],
        lambda x: nn.conv1d_transpose(x, const(8, 5, 4, low=-0.5), strides=2, padding=3),
    ),
    "softmax of channels": ([IMAGE], lambda x: nn.softmax(ready(x), 1)),
    "softmax of columns": ([IMAGE], lambda x: nn.log_softmax(ready(x), -1)),
    "integers divided": (
        [IMAGE],
        lambda x: op.divide(
            emitted(op.astype(ready(x), "int32")), relax.const(np.full((1, 8, 1, 1), 3, "int32"))
        ),
    ),
    "resized": (
        [IMAGE],
        lambda x: op.image.resize2d(ready(x), relax.ShapeExpr([12, 10]), method="nearest_neighbor"),
    ),
    "cut out": ([IMAGE], lambda x: op.strided_slice(ready(x), [1, 3], [2, 0], [7, 4], [2, 1])),
    "padded": ([IMAGE], lambda x: nn.pad(ready(x), [0, 0, 1, 2, 3, 4, 5, 6], "constant", 0.5)),
    "one channel is one group": ([(2, 1, 6, 5)], lambda x: conv(x, 1)),
    "winograd": ([(2, 32, 16, 15)], lambda x: conv(x, 40, padding=(0, 1, 2, 2))),
    # Dense layers.
    "dense": ([(3, 7)], lambda x: op.matmul(x, const(7, 5))),
    "dense of three axes": ([(2, 3, 7)], lambda x: op.matmul(x, const(7, 16))),
    "product of batches": ([(2, 3, 7)], lambda x: op.matmul(x, const(2, 7, 5))),
    "product of batches computed": ([(2, 5, 7), (2, 7, 9)], lambda x, y: op.matmul(x, y)),
    "product of many batches": ([(2, 3, 5, 7), (2, 3, 7, 16)], lambda x, y: op.matmul(x, y)),
    "product of a vector": ([(7,)], lambda x: op.matmul(x, const(7, 5))),
    "product of two inputs": ([(3, 7), (7, 5)], lambda x, y: op.matmul(x, y)),
    "dense behind an image": ([IMAGE], lambda x: op.matmul(ready(x), const(5, 3))),
    # Elementwise.
    "relu": ([IMAGE], lambda x: nn.relu(ready(x))),
    "scalar": ([IMAGE], lambda x: op.add(ready(x), relax.const(2.0, "float32"))),
    "by channel": ([IMAGE], lambda x: op.multiply(ready(x), const(8, 1, 1))),
    "by channel of four axes": ([IMAGE], lambda x: op.add(ready(x), const(1, 8, 1, 1))),
    "by row and column": ([CUBE], lambda x: op.add(ready(x), const(6, 6))),
    "by column": ([CUBE], lambda x: op.add(ready(x), const(6))),
    "by image": ([CUBE], lambda x: op.add(ready(x), const(1, 6, 6, 6))),
    "constant first": ([IMAGE], lambda x: op.subtract(const(8, 1, 1), ready(x))),
    "divided by a constant": ([IMAGE], lambda x: op.divide(ready(x), const(8, 1, 1))),
    "a constant divided": ([IMAGE], lambda x: op.divide(const(8, 1, 1), op.exp(ready(x)))),
    "clip": ([IMAGE], lambda x: op.clip(ready(x), -0.5, 0.75)),
    "with another image": ([IMAGE, IMAGE], lambda x, y: op.subtract(y, ready(x))),
    "with an image to be spread": (
        [CUBE, (1, 6, 1, 1)],
        lambda x, y: op.multiply(ready(x), op.sigmoid(y)),
    ),
    "with a row of three axes": ([CUBE, (6, 6, 6)], lambda x, y: op.add(ready(x), y)),
    "spread to five axes": ([CUBE], lambda x: op.add(ready(x), const(2, 1, 6, 6, 6))),
    "of inputs only": ([CUBE, CUBE], lambda x, y: op.add(x, y)),
    # Pooling.
    "max pool": ([IMAGE], lambda x: nn.max_pool2d(ready(x), (3, 2), (2, 1), (1, 0, 2, 1))),
    "max pool dilated": ([IMAGE], lambda x: nn.max_pool2d(ready(x), (2, 2), dilation=(1, 2))),
    "max pool rounded up": (
        [IMAGE],
        lambda x: nn.max_pool2d(ready(x), (3, 3), (2, 2), ceil_mode=True),
    ),
    "mean with its padding": (
        [IMAGE],
        lambda x: nn.avg_pool2d(ready(x), (3, 3), (2, 2), (1, 1, 1, 1), count_include_pad=True),
    ),
    "mean without its padding": (
        [IMAGE],
        lambda x: nn.avg_pool2d(ready(x), (3, 3), (2, 2), (1, 1, 1, 1), count_include_pad=False),
    ),
    "pool of an input": ([IMAGE], lambda x: nn.max_pool2d(x, (2, 2))),
    # Reductions.
    "mean over pixels": ([CUBE], lambda x: op.mean(ready(x), [2, 3], keepdims=True)),
    "sum over channels": ([CUBE], lambda x: op.sum(ready(x), [1], keepdims=True)),
    "max over rows": ([CUBE], lambda x: op.max(ready(x), [2], keepdims=True)),
    "min over columns": ([CUBE], lambda x: op.min(ready(x), [-1], keepdims=True)),
    "mean over the batch": ([IMAGE], lambda x: op.mean(ready(x), [0], keepdims=True)),
    "mean over all": ([IMAGE], lambda x: op.mean(ready(x), keepdims=True)),
    "pixels dropped": ([CUBE], lambda x: op.mean(ready(x), [2, 3])),
    "pixels dropped, counted from the end": ([CUBE], lambda x: op.max(ready(x), [-1, -2])),
    "channels and rows dropped": ([CUBE], lambda x: op.sum(ready(x), [1, 2])),
    "channels dropped": ([CUBE], lambda x: op.sum(ready(x), [1])),
    "all dropped": ([CUBE], lambda x: op.sum(ready(x))),
    # Axes.
    "joined by channel": ([CUBE, CUBE], lambda x, y: op.concat([ready(x), y], 1)),
    "joined by column": ([CUBE, CUBE], lambda x, y: op.concat([y, ready(x)], -1)),
    "joined by row": ([CUBE, CUBE], lambda x, y: op.concat([ready(x), ready(y)], 2)),
    "joined images": ([CUBE, CUBE], lambda x, y: op.concat([ready(x), y], 0)),
    "joined to a constant": ([CUBE], lambda x: op.concat([ready(x), const(1, 2, 6, 6)], 1)),
    "inputs joined": ([CUBE, CUBE], lambda x, y: op.concat([x, y], 1)),
    "split": ([CUBE], lambda x: op.split(ready(x), 3, 1)),
    "split unevenly": ([CUBE], lambda x: op.split(ready(x), [1, 4], -1)),
    "a part of a split": (
        [CUBE],
        lambda x: nn.relu(emitted(relax.TupleGetItem(emitted(op.split(ready(x), [2], 2)), 1))),
    ),
    "parts joined": ([CUBE], lambda x: op.concat(emitted(op.split(ready(x), 2, 1)), 0)),
    # Shapes.
    "flattened pixels": ([IMAGE], lambda x: op.reshape(ready(x), (2, 240))),
    "flattened cube": ([CUBE], lambda x: op.reshape(ready(x), (6, 36))),
    "flattened after a mean": (
        [IMAGE],
        lambda x: op.reshape(emitted(op.mean(ready(x), [2, 3], keepdims=True)), (2, 8)),
    ),
    "flattened after a mean of rows": (
        [CUBE],
        lambda x: op.reshape(emitted(op.mean(ready(x), [2], keepdims=True)), (6, 6)),
    ),
    "flattened input of one pixel": ([(2, 8, 1, 1)], lambda x: op.reshape(x, (4, 4))),
    "shuffled": ([IMAGE], lambda x: shuffled(ready(x))),
    "shuffled cube": ([CUBE], lambda x: shuffled(ready(x))),
    "shuffled otherwise": (
        [(1, 4, 2, 2)],
        lambda x: shuffled(ready(x), (0, 1, 2, 4, 3)),
    ),
    "shuffled into another shape": ([CUBE], lambda x: shuffled(ready(x), out=(1, 6, 9, 4))),
    "an input shuffled": ([IMAGE], lambda x: shuffled(x)),
    "transposed": ([CUBE], lambda x: op.permute_dims(ready(x), (0, 2, 3, 1))),
    "tokens as an image and back": ([(2, 30, 8)], lambda x: tokens(conv(pictured(x)))),
    "tokens of another order": (
        [(2, 30, 8)],
        lambda x: tokens(conv(emitted(op.permute_dims(pictured(x), (0, 1, 3, 2))))),
    ),
    "part of the tokens as an image": (
        [(1, 31, 8)],
        lambda x: conv(pictured(emitted(op.strided_slice(x, [1], [0], [30])))),
    ),
    "one channel": ([(2, 1, 6, 5)], lambda x: op.cumsum(conv(x, 1))),
    "one pixel": ([(2, 8, 1, 1)], lambda x: op.cumsum(ready(x))),
    "one row": ([(2, 8, 1, 5)], lambda x: op.cumsum(ready(x))),
    "a cube out": ([CUBE], lambda x: op.cumsum(ready(x))),
    "a tuple out": ([CUBE], lambda x: relax.Tuple([ready(x), x, emitted(op.exp(x))])),
}


def rewritten(name: str) -> list[str]:
    """The operators of a case after the pass, without what `ready` puts before it."""
    shapes, make = CASES[name]
    found = operators(layout.channels_last(module(shapes, make)))
    return found[2:] if "ready" in make.__code__.co_names else found


@inside("relax")
def test_weights_get_blocks_as_wide_as_the_registers() -> None:
    for channels, widest, lanes in ((8, 16, 8), (32, 16, 16), (32, 8, 8)):
        mod = module([IMAGE], lambda x, n=channels: conv(x, n))
        found = layout.channels_last(mod, Cpu(lanes=widest))
        (made,) = (f for name, f in found.functions.items() if name.name_hint == "conv2d")
        weight = made.params[1].ty
        assert int(weight.shape[-1]) == lanes


# What each case becomes: "permute_dims" last is the way back to channels first at the output.
BECOMES = {
    "conv": "permute_dims conv2d permute_dims",
    "one channel is one group": "reshape conv2d reshape",
    "depthwise": "permute_dims depthwise_conv2d permute_dims",
    "groups are outputs but not inputs": "permute_dims conv2d permute_dims",
    "groups are inputs but not outputs": "permute_dims depthwise_conv2d permute_dims",
    "two groups": "permute_dims conv2d permute_dims",
    "two groups of whole blocks": "permute_dims grouped_conv2d permute_dims",
    "too many odd groups": "nn.conv2d",
    "one axis": "permute_dims conv1d nn.relu permute_dims",
    "three axes": "permute_dims conv3d permute_dims",
    "transposed convolution": "permute_dims conv2d phases permute_dims",
    "transposed depthwise": "permute_dims depthwise_conv2d phases permute_dims",
    "transposed with dilation": "nn.conv2d_transpose",
    "softmax of channels": "nn.softmax permute_dims",
    "softmax of columns": "nn.log_softmax permute_dims",
    "resized": "image.resize2d permute_dims",
    "cut out": "strided_slice permute_dims",
    "padded": "nn.pad permute_dims",
    "product of batches computed": "reshape reshape pack_right batch_matmul reshape",
    "winograd": "permute_dims winograd_input winograd_product winograd_output permute_dims",
    "dense": "dense",
    "dense of three axes": "dense",
    "product of batches": "matmul",
    "product of a vector": "matmul",
    "product of two inputs": "matmul",
    "relu": "nn.relu permute_dims",
    "by channel": "multiply permute_dims",
    "divided by a constant": "multiply permute_dims",
    "a constant divided": "exp divide permute_dims",
    "with another image": "permute_dims subtract permute_dims",
    "with a row of three axes": "permute_dims add",
    "spread to five axes": "permute_dims add",
    "of inputs only": "add",
    "max pool": "nn.max_pool2d permute_dims",
    "mean with its padding": "nn.avg_pool2d permute_dims",
    "pool of an input": "nn.max_pool2d",
    "sum over channels": "sum reshape",
    "mean over pixels": "mean reshape",
    "mean over all": "permute_dims mean",
    "pixels dropped": "mean",
    "channels dropped": "permute_dims sum",
    "all dropped": "permute_dims sum",
    "joined by channel": "permute_dims concat permute_dims",
    "joined to a constant": "concat permute_dims",
    "inputs joined": "concat",
    "flattened pixels": "permute_dims reshape",
    "flattened after a mean": "mean reshape",
    # The first three are what it is channels first; nothing reads them.
    "shuffled": "permute_dims reshape permute_dims reshape permute_dims reshape permute_dims",
    "shuffled otherwise": "permute_dims reshape permute_dims reshape",
    # What is read of this is two reshapes and the convolution between them.
    "tokens as an image and back": "permute_dims reshape conv2d permute_dims reshape reshape",
    "one row": "permute_dims cumsum",
    "one pixel": "reshape cumsum",
    "a cube out": "permute_dims cumsum",
}


@inside("relax")
def became() -> dict[str, str]:
    return {name: " ".join(rewritten(name)) for name in BECOMES}


@pytest.fixture(scope="module")
def forms() -> dict[str, str]:
    found: dict[str, str] = became()
    return found


@pytest.mark.parametrize("name", BECOMES)
def test_what_a_graph_becomes(name: str, forms: dict[str, str]) -> None:
    assert forms[name] == BECOMES[name]


# Moving the channels of a shape: whether a reshape does, or it takes a transposition.
MOVED = [
    ((2, 8, 6, 5), "permute_dims"),
    ((1, 6, 6, 6), "permute_dims"),
    ((6, 6, 6, 6), "permute_dims"),
    ((2, 1, 6, 5), "reshape"),
    ((2, 8, 1, 1), "reshape"),
    ((2, 8, 1, 5), "permute_dims"),
    ((2, 8, 6, 1), "permute_dims"),
    ((1, 5, 1, 5), "permute_dims"),
    ((1, 1, 1, 1), "reshape"),
]


def moved(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """The operator that permutes a shape, and the shape that comes out."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            value = layout._Rewrite(builder, {}, 8)._permuted(x, axes)
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    return operators(builder.get())[0], tuple(int(size) for size in value.ty.shape)


@inside("relax")
def test_a_reshape_moves_channels_only_where_memory_keeps_its_order() -> None:
    for (n, c, h, w), name in MOVED:
        assert moved((n, c, h, w), layout.to_last(4)) == (name, (n, h, w, c))
        assert moved((n, h, w, c), layout.to_first(4)) == (name, (n, c, h, w))


@inside("relax")
def test_what_it_does_not_know_is_left_alone() -> None:
    half = relax.const(np.ones((8, 8, 3, 3), "float16"))
    kernel_last = const(3, 3, 8, 8)
    cases = {
        "weights that are inputs": module([IMAGE, (8, 8, 3, 3)], nn.conv2d),
        "half precision": module([IMAGE], lambda x: nn.conv2d(x, half), "float16"),
        "channels last already": module(
            [(2, 6, 5, 8)],
            lambda x: nn.conv2d(x, kernel_last, data_layout="NHWC", kernel_layout="HWIO"),
        ),
        "kernels laid out otherwise": module(
            [IMAGE], lambda x: nn.conv2d(x, kernel_last, kernel_layout="HWIO")
        ),
        "a half matrix": module(
            [(3, 7)], lambda x: op.matmul(x, relax.const(np.ones((7, 5), "float16"))), "float16"
        ),
    }
    for name, mod in cases.items():
        assert operators(layout.channels_last(mod)) == operators(mod), name


@inside("relax")
def test_a_free_batch_is_left_alone() -> None:
    n = tvm.tirx.Var("n", "int64")
    mod = module([(n, 8, 6, 5)], conv)
    assert operators(layout.channels_last(mod)) == ["nn.conv2d"]


@inside("relax")
def test_a_main_without_a_dataflow_block_is_left_alone() -> None:
    x = relax.Var("x", relax.TensorType(IMAGE, "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(conv(x)))
    mod = builder.get()
    assert layout.channels_last(mod).same_as(mod)


@inside("relax")
def test_attributes_and_other_functions_are_kept() -> None:
    mod = module([IMAGE], conv)
    other = module([IMAGE], nn.relu)["main"].with_attr("global_symbol", "other")
    mod.update_func(tvm.ir.GlobalVar("other"), other)
    mod.update_func(mod.get_global_var("main"), mod["main"].with_attr("num_input", 1))
    mod = mod.with_attr("external_mods", ["x"])
    found = layout.channels_last(mod)
    assert {"main", "other"} < {var.name_hint for var in found.functions}
    assert int(found["main"].attrs["num_input"]) == 1
    assert [str(each) for each in found.attrs["external_mods"]] == ["x"]
    assert "conv2d" in operators(found)


@inside("relax")
def test_a_value_that_is_read_twice_is_moved_once() -> None:
    def make(x: Any) -> Any:
        y = ready(x)
        return op.add(emitted(op.cumsum(y)), emitted(op.floor(emitted(op.cumsum(y)))))

    found = operators(layout.channels_last(module([IMAGE], make)))
    assert found == [
        "permute_dims",
        "conv2d",
        "permute_dims",
        "cumsum",
        "cumsum",
        "floor",
        "add",
    ], found


UNARY = (
    "abs ceil erf exp floor log negative nn.gelu nn.gelu_tanh nn.leakyrelu nn.relu "
    "nn.silu round rsqrt sigmoid sqrt square tanh"
)
BINARY = "add divide greater less maximum minimum multiply power subtract"


@inside("relax")
def test_elementwise_operators_stay_channels_last() -> None:
    for name in f"{UNARY} {BINARY}".split():
        make = operator.attrgetter(name)(op)
        inputs = 1 if name in UNARY.split() else 2
        mod = module([IMAGE] * inputs, lambda *xs, make=make: make(*map(ready, xs)))
        found = operators(layout.channels_last(mod))
        assert found == ["permute_dims", "conv2d"] * inputs + [name, "permute_dims"], found
    mod = module([IMAGE], lambda x: op.where(emitted(op.less(ready(x), x)), ready(x), x))
    assert operators(layout.channels_last(mod))[-2:] == ["where", "permute_dims"]


# Last, as it takes the longest.


@inside("relax")
def compared() -> dict[str, float | str]:
    """Each case's largest error, all of them in one module and one compilation."""
    rng = np.random.default_rng(0)
    params, arrays, counts = [], [], {}
    builder = relax.BlockBuilder()
    for name, (shapes, _) in CASES.items():
        for number, shape in enumerate(shapes):
            params.append(relax.Var(f"{name}{number}", relax.TensorType(shape, "float32")))
            arrays.append(rng.uniform(-1, 1, shape).astype("float32"))
    left = iter(params)
    with builder.function("main", params):
        with builder.dataflow():
            values = []
            for name, (shapes, make) in CASES.items():
                value = builder.emit(make(*[next(left) for _ in shapes]))
                fields = value.ty.fields if isinstance(value.ty, relax.TupleType) else [None]
                counts[name] = len(fields)
                values.append(value)
            result = builder.emit_output(relax.Tuple(values))
        builder.emit_func_output(result)
    mod = builder.get()
    wanted, found = iter(run(mod, arrays)), iter(run(layout.channels_last(mod), arrays))
    errors: dict[str, float | str] = {}
    for name, count in counts.items():
        pairs = [(next(wanted), next(found)) for _ in range(count)]
        shapes = [[list(array.shape) for array in pair] for pair in pairs]
        if any(one != two for one, two in shapes):
            errors[name] = f"shapes {shapes}"
        else:
            errors[name] = max(float(abs(one - two).max()) for one, two in pairs)
    return errors


@pytest.fixture(scope="module")
def errors() -> dict[str, float | str]:
    found: dict[str, float | str] = compared()
    return found


@pytest.mark.parametrize("name", CASES)
def test_it_computes_the_same(name: str, errors: dict[str, float | str]) -> None:
    error = errors[name]
    assert isinstance(error, float), error
    assert error < 1e-4
