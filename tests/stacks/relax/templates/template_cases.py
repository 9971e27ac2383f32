"""Kernels for the schedule templates, for tests that run `inside` the relax stack's process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tvm
from relax_graphs import PLAIN, compiled
from tvm import s_tir, te
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

from tvmkd.stacks.relax import kernels, quantized_kernels, winograd
from tvmkd.stacks.relax.templates import template_for
from tvmkd.stacks.relax.templates.cpu import Cpu

TARGET = {**PLAIN, "num-cores": 2}
MOST = 4  # members of a space that are compiled
SERIAL, PARALLEL, VECTORIZED, UNROLLED = range(4)


def tensor(*shape: int, name: str = "x") -> Any:
    """A float32 input."""
    return te.placeholder(shape, "float32", name=name)


def module(*tensors: Any) -> Any:
    """The kernel with these inputs and outputs, in this order."""
    function = te.create_prim_func(list(tensors))
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def schedule(*tensors: Any) -> Any:
    """A schedule of `module`."""
    return s_tir.Schedule(module(*tensors))


def relu(value: Any) -> Any:
    """An elementwise operator behind a kernel."""
    zero = tvm.tirx.const(0.0, "float32")
    return te.compute(value.shape, lambda *at: te.max(value[at], zero), name="relu")


def silu(value: Any) -> Any:
    """Another one, with a function that takes many instructions."""
    return te.compute(value.shape, lambda *at: value[at] * tvm.tirx.sigmoid(value[at]), name="silu")


def convolution(
    channels: int = 40,
    size: tuple[int, int] = (10, 12),
    inner: int = 24,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    lanes: int = kernels.LANES,
) -> list[Any]:
    """A 3x3 convolution over packed weights."""
    image = tensor(1, *size, inner)
    weight = tensor(-(-channels // lanes), 3, 3, inner, lanes, name="w")
    return [image, weight, kernels.convolution(image, weight, channels, strides, pads, (1, 1))]


def depthwise(
    size: tuple[int, int, int] = (10, 12, 24),
    kernel: int = 3,
    stride: int = 1,
    pad: int = 1,
    multiplier: int = 1,
) -> list[Any]:
    """A depthwise convolution of one image of this height, width and number of channels."""
    image, taps = tensor(1, *size), tensor(kernel, kernel, size[2] * multiplier, name="w")
    return [image, taps, kernels.depthwise(image, taps, [stride] * 2, [pad] * 4, (1, 1))]


def dense(rows: int = 6, inner: int = 48, channels: int = 20) -> list[Any]:
    """A dense layer over packed weights."""
    x = tensor(rows, inner)
    weight = tensor(-(-channels // kernels.LANES), 1, 1, inner, kernels.LANES, name="w")
    return [x, weight, kernels.dense(x, weight, channels)]


def quantised(
    dot: Any,
    size: tuple[int, int] = (10, 12),
    channels: int = 40,
    inner: int = 24,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    dtype: str = "uint8",
) -> list[Any]:
    """A 3x3 convolution of bytes with packed weights, rounded to bytes."""
    image = te.placeholder((1, *size, inner), dtype, name="x")
    packed = quantized_kernels.pack(np.zeros((channels, 3, 3, inner), np.int64), dot)
    weight = te.placeholder(packed.shape, dot.weight, name="w")
    filled = -(-channels // dot.lanes) * dot.lanes
    bias = te.placeholder((filled,), "int32", name="bias")
    scale = te.placeholder((filled,), "float32", name="scale")
    how = quantized_kernels.Rounded("uint8", 3, 0, 255)
    options = {"strides": strides, "pads": pads, "dilation": (1, 1), "zero": 7, "groups": 1}
    out = quantized_kernels.conv2d(
        image, weight, bias, scale, dot=dot, channels=channels, how=how, **options
    )
    return [image, weight, bias, scale, out]


def scale() -> list[Any]:
    """The last of a squeeze-and-excitation layer: a sigmoid of sums, times each pixel."""
    x, weight = tensor(1, 1, 1, 16), tensor(3, 1, 1, 16, kernels.LANES, name="w")
    y = kernels.convolution(x, weight, 24, (1, 1), (0, 0, 0, 0), (1, 1))
    gate = te.compute(y.shape, lambda *at: tvm.tirx.sigmoid(y[at]), name="gate")
    image = tensor(1, 5, 6, 24, name="image")
    scaled = te.compute(
        image.shape, lambda n, h, w, c: gate[n, 0, 0, c] * image[n, h, w, c], name="scaled"
    )
    return [x, weight, image, scaled]


def sequences(length: int, batch: int) -> list[Any]:
    """A dense layer over sequences, the batch in the middle."""
    x, weight = tensor(length, batch, 16), tensor(4, 1, 1, 16, kernels.LANES, name="w")
    return [x, weight, kernels.dense(x, weight, 32)]


def winograd_product() -> list[Any]:
    """The products of the points of a Winograd convolution, of tiles of 4 x 4."""
    patches, points = tensor(36, 6, 16), tensor(36, 2, 16, 8, name="w")
    return [patches, points, winograd.product(patches, points)]


def winograd_input(channels: int = 40, tile: int = 4) -> list[Any]:
    """An image as patches in Winograd's domain."""
    image = tensor(1, 10, 12, channels)
    return [image, winograd.input_transform(image, [1, 1, 1, 1], [10, 12], tile)]


def winograd_output(channels: int = 40, tile: int = 4) -> list[Any]:
    """Products in Winograd's domain as an image."""
    products = tensor((tile + 2) ** 2, winograd.tiles([10, 12], tile), channels)
    return [products, winograd.output_transform(products, 1, [10, 12], tile)]


def pooling(channels: int = 24, size: tuple[int, int] = (10, 12)) -> list[Any]:
    """The sums over the pixels of an image."""
    image = tensor(1, *size, channels)
    i, j = te.reduce_axis((0, size[0])), te.reduce_axis((0, size[1]))
    sums = te.compute(
        (1, channels), lambda b, c: te.sum(image[b, i, j, c], axis=[i, j]), name="sum"
    )
    return [image, sums]


def scaled(*shape: int) -> list[Any]:
    """Twice a tensor, and one."""
    x = tensor(*shape)
    return [x, te.compute(shape, lambda *at: x[at] * 2 + 1, name="scaled")]


def check_members(
    tensors: list[Any], threads: int = 2, *, operator: bool = True, cpu: Cpu | None = None
) -> None:
    """Checks that at least half of a few members of the kernel's space are legal, and all right.

    Args:
        tensors: inputs and output of the kernel.
        threads: of the target.
        operator: check the kernel with an operator behind it too.
        cpu: the target's; None: one with AVX2.
    """
    for last in (tensors[-1], relu(tensors[-1]))[: 1 + operator]:
        mod = module(*tensors[:-1], last)
        space = template_for(mod, cpu or Cpu(threads=threads))
        assert space is not None, "no template for it"
        assert space.size is not None
        numbers = sorted({round(n) for n in np.linspace(0, space.size - 1, MOST)})
        members = [member for member in map(space.member, numbers) if member is not None]
        assert len(members) >= len(numbers) / 2
        wanted, *found = run([mod, *(member.schedule.mod for member in members)])
        for member, output in zip(members, found, strict=True):
            error = np.abs(output - wanted).max() / np.abs(wanted).max()
            assert error < 1e-5, member.config


def of_members(mod: Any, space: Any) -> dict[str, Any]:
    """A kernel as it is, and as the first, the middle and the last schedule make it: by symbol."""
    members = [space.member(number) for number in (0, space.size // 2, space.size - 1)]
    mods = [mod, *(member.schedule.mod for member in members if member is not None)]
    return {
        f"k{number}": each["main"].with_attr("global_symbol", f"k{number}")
        for number, each in enumerate(mods)
    }


def check_same(library: Any, symbols: Iterable[str], arrays: list[np.ndarray]) -> None:
    """All functions give the same last argument as the first, and no dull one."""
    found = []
    for symbol in symbols:
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        library[symbol](*tensors)
        found.append(tensors[-1].numpy())
    assert len(np.unique(found[0])) > 20
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


def run(mods: list[Any]) -> list[np.ndarray]:
    """The outputs of kernels with the same arguments, for random inputs and an output of NaN."""
    rng = np.random.default_rng(0)
    shapes = [[int(size) for size in a.shape] for a in ArgInfo.from_prim_func(mods[0]["main"])]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    arrays[-1][:] = np.nan
    names = [f"kernel{number}" for number in range(len(mods))]
    functions = {
        name: mod["main"].with_attr("global_symbol", name)
        for name, mod in zip(names, mods, strict=True)
    }
    library = compiled(tvm.IRModule(functions), TARGET)
    found = []
    for name in names:
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        library[name](*tensors)
        found.append(np.asarray(tensors[-1].numpy()))
    return found


def applied(template: Any, config: dict[str, Any], *tensors: Any) -> Any:
    """The schedule of a kernel after a template's `apply`."""
    made = schedule(*tensors)
    template.apply(made, config)
    return made


def names(sch: Any) -> list[str]:
    """The names of the blocks, in program order."""
    found = sch.get_child_blocks(sch.get_sblock("root"))
    return [sch.get(block).name_hint for block in found]


def scope(sch: Any, block: str) -> str:
    """The storage scope of what a block writes."""
    return str(sch.get(sch.get_sblock(block)).writes[0].source.scope())


def loops(sch: Any, block: str) -> list[tuple[int, int]]:
    """Kind and extent of each loop round a block, outermost first."""
    found = [sch.get(loop) for loop in sch.get_loops(sch.get_sblock(block))]
    return [(int(loop.kind), int(loop.extent)) for loop in found]
