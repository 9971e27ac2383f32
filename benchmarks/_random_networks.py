"""Random ONNX networks of ten to forty operators, for finding what a compiler gets wrong.

The idea is NNSmith's (Liu et al., ASPLOS 2023): choose an operator, then a tensor that it fits,
then attributes that are valid for that tensor, so that every network is valid by construction.
Sizes are small and odd; values stay in a range where no operator overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = (1, 2, 3, 5, 7, 8)
MOST = 4096  # elements of a tensor
FLOAT, INT, BOOL = "float32", "int64", "bool"
_TYPES = {FLOAT: TensorProto.FLOAT, INT: TensorProto.INT64, BOOL: TensorProto.BOOL}


class Network:
    """A network that is being made: its nodes, and the shape and dtype of each tensor.

    Args:
        seed: of all choices.
        prefix: of all names, so that several networks can stand in one model.
    """

    def __init__(self, seed: int, prefix: str = "") -> None:
        self.rng = np.random.default_rng(seed)
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.tensors: dict[str, tuple[tuple[int, ...], str]] = {}
        self.inputs: list[str] = []
        self._count = 0

    def name(self) -> str:
        """A new name."""
        self._count += 1
        return f"{self.prefix}t{self._count}"

    def constant(self, value: Any) -> str:
        """A constant, and its name."""
        name = self.name()
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape: int) -> str:
        """Random numbers of moderate size."""
        scale = 1 / np.sqrt(max(1, int(np.prod(shape[1:]))))
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def add(
        self, kind: str, inputs: list[str], shape: Any, dtype: str = FLOAT, **attributes: Any
    ) -> str:
        """A node with one output of a known shape."""
        name = self.name()
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.tensors[name] = (tuple(int(size) for size in shape), dtype)
        return name

    def choose(self, options: Any) -> Any:
        """One of several, each as likely."""
        return options[int(self.rng.integers(len(options)))]

    def pick(self, dtype: str = FLOAT, rank: int | None = None, least: int = 0) -> str | None:
        """A tensor of this dtype and rank (or at least this rank); later ones are likelier."""
        fit = [
            name
            for name, (shape, kind) in self.tensors.items()
            if kind == dtype and len(shape) >= least and (rank is None or len(shape) == rank)
        ]
        if not fit:
            return None
        return fit[-1 - min(int(self.rng.geometric(0.4)) - 1, len(fit) - 1)]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self.tensors[name][0]


Make = Callable[[Network, str], Any]
_MAKERS: list[tuple[str, int | None, int, Make]] = []


def _maker(dtype: str = FLOAT, rank: int | None = None, least: int = 0) -> Callable[[Make], Make]:
    def put(make: Make) -> Make:
        _MAKERS.append((dtype, rank, least, make))
        return make

    return put


_UNARY = (
    "Relu Sigmoid Tanh Abs Neg Erf Softplus HardSwish HardSigmoid LeakyRelu Elu Softsign Sin "
    "Cos Atan Identity Selu"
)


@_maker()
def _unary(net: Network, x: str) -> None:
    net.add(net.choose(_UNARY.split()), [x], net.shape(x))


@_maker()
def _bounded(net: Network, x: str) -> None:
    tanh = net.add("Tanh", [x], net.shape(x))
    # An approximated Tanh may be above 1, where Asin is not defined.
    safe = net.add("Mul", [tanh, net.constant(np.float32(0.9))], net.shape(x))
    net.add(net.choose(["Exp", "Sinh", "Cosh", "Asin", "Tan"]), [safe], net.shape(x))


@_maker()
def _root(net: Network, x: str) -> None:
    positive = net.add("Abs", [x], net.shape(x))
    raised = net.add("Add", [positive, net.constant(np.float32(0.5))], net.shape(x))
    net.add(net.choose(["Sqrt", "Log", "Reciprocal"]), [raised], net.shape(x))


@_maker()
def _broadcast(net: Network, x: str) -> None:
    shape = net.shape(x)
    other = [size if net.rng.random() < 0.6 else 1 for size in shape]
    other = other[int(net.rng.integers(len(other) + 1)) :] if net.rng.random() < 0.4 else other
    kind = net.choose(["Add", "Sub", "Mul", "Max", "Min"])
    inputs = [x, net.weights(*other)]
    net.add(kind, inputs if net.rng.random() < 0.7 else inputs[::-1], shape)


@_maker()
def _pair(net: Network, x: str) -> None:
    same = [name for name, found in net.tensors.items() if found == net.tensors[x]]
    kind = net.choose(["Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum"])
    made = net.add(kind, [x, net.choose(same)], net.shape(x))
    net.add("Tanh", [made], net.shape(x))


@_maker()
def _compare(net: Network, x: str) -> None:
    kind = net.choose(["Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
    mask = net.add(kind, [x, net.constant(np.float32(0.1))], net.shape(x), BOOL)
    if net.rng.random() < 0.5:
        mask = net.add("Not", [mask], net.shape(x), BOOL)
    net.add("Where", [mask, x, net.constant(np.float32(-0.3))], net.shape(x))


@_maker(BOOL)
def _cast(net: Network, x: str) -> None:
    net.add("Cast", [x], net.shape(x), FLOAT, to=TensorProto.FLOAT)


@_maker(least=1)
def _transpose(net: Network, x: str) -> None:
    order = [int(axis) for axis in net.rng.permutation(len(net.shape(x)))]
    net.add("Transpose", [x], [net.shape(x)[axis] for axis in order], perm=order)


@_maker(least=1)
def _reshape(net: Network, x: str) -> None:
    sizes = list(net.shape(x))
    at = int(net.rng.integers(len(sizes)))
    if len(sizes) > 1 and net.rng.random() < 0.6:
        at = min(at, len(sizes) - 2)
        sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
    else:
        sizes.insert(at, 1)
    asked = list(sizes)
    if net.rng.random() < 0.4:
        asked[int(net.rng.integers(len(asked)))] = -1
    net.add("Reshape", [x, net.constant(np.array(asked, np.int64))], sizes)


@_maker(least=1)
def _slice(net: Network, x: str) -> None:
    shape = list(net.shape(x))
    axis = int(net.rng.integers(len(shape)))
    size, step = shape[axis], int(net.choose([1, 1, 2, -1]))
    if step > 0:
        start = int(net.rng.integers(size))
        end = int(net.rng.integers(start, size)) + 1
        shape[axis] = len(range(start, end, step))
    else:
        start, end = -1, -(size + 1)
    bounds = [net.constant(np.array([value], np.int64)) for value in (start, end)]
    at = axis - len(shape) if net.rng.random() < 0.3 else axis
    more = [net.constant(np.array([value], np.int64)) for value in (at, step)]
    net.add("Slice", [x, *bounds, *more], shape)


@_maker(least=1)
def _pad(net: Network, x: str) -> None:
    shape = net.shape(x)
    mode = net.choose(["constant", "edge", "reflect"])
    most = [min(2, size - 1) if mode == "reflect" else 2 for size in shape]
    before, after = ([int(net.rng.integers(limit + 1)) for limit in most] for _ in range(2))
    amounts = net.constant(np.array(before + after, np.int64))
    sizes = [a + size + b for a, size, b in zip(before, shape, after, strict=True)]
    if np.prod(sizes) <= MOST:
        net.add("Pad", [x, amounts], sizes, mode=mode)


@_maker(least=1)
def _concat(net: Network, x: str) -> None:
    axis = int(net.rng.integers(len(net.shape(x))))
    sizes = list(net.shape(x))
    other = list(sizes)
    other[axis] = int(net.choose(SIZES))
    sizes[axis] += other[axis]
    net.add("Concat", [x, net.weights(*other)], sizes, axis=axis)


@_maker(least=1)
def _gather(net: Network, x: str) -> None:
    shape = list(net.shape(x))
    axis = int(net.rng.integers(len(shape)))
    count = int(net.choose([1, 2, 3]))
    indices = net.rng.integers(-shape[axis], shape[axis], count)
    shape[axis] = count
    net.add("Gather", [x, net.constant(indices.astype(np.int64))], shape, axis=axis)


@_maker(least=1)
def _reduce(net: Network, x: str) -> None:
    shape = net.shape(x)
    count = int(net.rng.integers(1, len(shape) + 1))
    axes = sorted(int(axis) for axis in net.rng.choice(len(shape), count, replace=False))
    keep = int(net.rng.random() < 0.5)
    sizes = [1 if a in axes else s for a, s in enumerate(shape) if keep or a not in axes]
    kind = net.choose(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp"])
    net.add(kind, [x], sizes, axes=axes, keepdims=keep)


@_maker(least=1)
def _softmax(net: Network, x: str) -> None:
    axis = int(net.rng.integers(-len(net.shape(x)), len(net.shape(x))))
    net.add(net.choose(["Softmax", "LogSoftmax"]), [x], net.shape(x), axis=axis)


@_maker(least=2)
def _matmul(net: Network, x: str) -> None:
    *outer, inner = net.shape(x)
    columns = int(net.choose(SIZES))
    net.add("MatMul", [x, net.weights(inner, columns)], [*outer, columns])


@_maker(least=2)
def _normalise(net: Network, x: str) -> None:
    size = net.shape(x)[-1]
    scale = net.constant(np.linspace(0.5, 1.5, size, dtype=np.float32))
    net.add("LayerNormalization", [x, scale, net.weights(size)], net.shape(x), epsilon=1e-2)


@_maker(least=1)
def _arg(net: Network, x: str) -> None:
    shape = list(net.shape(x))
    axis = int(net.rng.integers(len(shape)))
    shape[axis] = 1
    found = net.add(net.choose(["ArgMax", "ArgMin"]), [x], shape, INT, axis=axis)
    net.add("Cast", [found], shape, to=TensorProto.FLOAT)


@_maker(least=1)
def _cumulate(net: Network, x: str) -> None:
    axis = net.constant(np.int64(net.rng.integers(len(net.shape(x)))))
    made = net.add("CumSum", [x, axis], net.shape(x), exclusive=int(net.rng.random() < 0.3))
    net.add("Tanh", [made], net.shape(x))


@_maker(rank=4)
def _convolve(net: Network, x: str) -> None:
    batch, channels, *image = net.shape(x)
    group = net.choose([g for g in (1, channels) if channels % g == 0])
    out = group * int(net.choose([1, 2, 3]))
    kernel = [int(net.choose([1, 2, 3])) for _ in image]
    stride, dilation = int(net.choose([1, 1, 2])), int(net.choose([1, 1, 2]))
    pads = [int(net.choose([0, 1, 2])) for _ in range(4)]
    sizes = [
        (size + pads[axis] + pads[axis + 2] - dilation * (kernel[axis] - 1) - 1) // stride + 1
        for axis, size in enumerate(image)
    ]
    if min(sizes) < 1 or batch * out * np.prod(sizes) > MOST:
        return
    inputs = [x, net.weights(out, channels // group, *kernel)]
    inputs += [net.weights(out)] if net.rng.random() < 0.5 else []
    net.add(
        "Conv",
        inputs,
        [batch, out, *sizes],
        pads=pads,
        strides=[stride] * 2,
        dilations=[dilation] * 2,
        group=group,
    )


@_maker(rank=4)
def _pool(net: Network, x: str) -> None:
    batch, channels, *image = net.shape(x)
    if net.rng.random() < 0.25:
        net.add("GlobalAveragePool", [x], [batch, channels, 1, 1])
        return
    kernel = [min(int(net.choose([1, 2, 3])), size) for size in image]
    stride = int(net.choose([1, 2]))
    sizes = [(size - k) // stride + 1 for size, k in zip(image, kernel, strict=True)]
    kind = net.choose(["MaxPool", "AveragePool"])
    net.add(kind, [x], [batch, channels, *sizes], kernel_shape=kernel, strides=[stride] * 2)


@_maker(rank=4)
def _batch_norm(net: Network, x: str) -> None:
    channels = net.shape(x)[1]
    mean, shift = net.weights(channels), net.weights(channels)
    scale, variance = (
        net.constant(net.rng.uniform(0.5, 1.5, channels).astype(np.float32)) for _ in range(2)
    )
    net.add("BatchNormalization", [x, scale, shift, mean, variance], net.shape(x))


@_maker(rank=4)
def _resize(net: Network, x: str) -> None:
    batch, channels, *image = net.shape(x)
    sizes = [batch, channels, *(int(net.choose([1, 2])) * size for size in image)]
    if np.prod(sizes) > MOST:
        return
    mode, how = net.choose([("nearest", "asymmetric"), ("linear", "half_pixel")])
    more = {"nearest_mode": "floor"} if mode == "nearest" else {}
    asked = net.constant(np.array(sizes, np.int64))
    attributes = {"mode": mode, "coordinate_transformation_mode": how, **more}
    net.add("Resize", [x, "", "", asked], sizes, **attributes)


def network(seed: int, prefix: str = "") -> Network:
    """A random network of ten to forty operators; the same seed gives the same one."""
    net = Network(seed, prefix)
    for at in range(int(net.choose([1, 1, 2]))):
        rank = 4 if at == 0 and net.rng.random() < 0.6 else int(net.choose([1, 2, 3]))
        name = f"{prefix}x{at}"
        net.inputs.append(name)
        net.tensors[name] = (tuple(int(net.choose(SIZES)) for _ in range(rank)), FLOAT)
    wanted = int(net.rng.integers(10, 41))
    while len(net.nodes) < wanted:
        dtype, rank_of, least, make = net.choose(_MAKERS)
        tensor = net.pick(dtype, rank_of, least)
        if tensor is not None:
            make(net, tensor)
    return net


def model(*networks: Network) -> onnx.ModelProto:
    """One model of several networks; every tensor that no node reads is an output."""
    nodes = [node for net in networks for node in net.nodes]
    read = {name for node in nodes for name in node.input}
    inputs, outputs = [], []
    for net in networks:
        for name, (shape, dtype) in net.tensors.items():
            entry = helper.make_tensor_value_info(name, _TYPES[dtype], shape)
            if name in net.inputs:
                inputs.append(entry)
            elif name not in read:
                outputs.append(entry)
    constants = [tensor for net in networks for tensor in net.constants]
    graph = helper.make_graph(nodes, "random", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made
