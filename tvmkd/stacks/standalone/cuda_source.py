"""Writes a graph for an NVIDIA GPU as C: tables of launches, which the runtime goes through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvmkd.stacks.standalone import source
from tvmkd.stacks.standalone.c_text import Shapes, described, quoted, row, rows
from tvmkd.stacks.standalone.graph import Call, Graph, Place, Storage, Tensor, plan
from tvmkd.stacks.standalone.source import About


@dataclass(frozen=True)
class Launch(Call):
    """One launch of a GPU function; ``kernel`` is its name.

    Attributes:
        parameters: the function's, in order: tensors, which are the call's arguments, and integers.
        grid: blocks along x, y and z.
        block: threads of a block along x, y and z.
        shared: bytes of dynamic shared memory of a block.
        label: of the first launch of a kernel of TVM: the kernel, and the ONNX nodes that it
            computes.
    """

    parameters: tuple[Tensor | int, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    label: str = ""


_MEMBERS = "  .enqueue = tvmkd_cuda_enqueue,\n"


def ptx(name: str) -> str:
    """The symbol of a model's PTX."""
    return f"{source.identifier(name)}_ptx"


def write(graph: Graph, about: About, capability: int) -> str:
    """The C file of a model.

    Args:
        graph: its calls are `Launch` or copies.
        about: the model.
        capability: the compute capability that the PTX is for, 53 for 5.3.
    """
    kernels = list(dict.fromkeys(each.kernel for each in graph.calls if isinstance(each, Launch)))
    places = _Places(graph, about)
    launches: list[str] = []
    ranges: list[str] = []
    arguments: list[str] = []
    for call in graph.calls:
        launches.append(_launch(call, kernels, len(arguments)))
        ranges.append(_range(call))
        arguments += [places.of(each) for each in _parameters(call)]
    shapes = Shapes()
    tensors_of = {
        kind: [described(spec, shapes) for spec in specs]
        for kind, specs in (("inputs", about.inputs), ("outputs", about.outputs))
    }
    weights = sum(array.nbytes for array in graph.constants)
    own = source.constants(about.name)
    return f"""/* {about.name}, compiled by {about.built_by}. Made by a program. */
#include "cuda.h"

extern const unsigned char {own}[] __attribute__((visibility("hidden")));
extern const char {ptx(about.name)}[] __attribute__((visibility("hidden")));
{shapes.text()}
static const char *const kernels[] = {{
  {rows([quoted(kernel) for kernel in kernels] or ["0"])}
}};
static void *functions[{max(1, len(kernels))}];
static const tvmkd_cuda_launch launches[] = {{
  {rows(launches or ["{0}"])}
}};
static const char *const ranges[] = {{
  {rows(ranges or ["0"])}
}};
static const tvmkd_cuda_argument arguments[] = {{
  {rows(arguments or ["{0}"])}
}};
static const uint64_t input_places[] = {{{row(places.inputs)}}};
static const uint64_t output_places[] = {{{row(places.outputs)}}};
static const tvmkd_tensor inputs[] = {{
  {rows(tensors_of["inputs"] or ["{0}"])}
}};
static const tvmkd_tensor outputs[] = {{
  {rows(tensors_of["outputs"])}
}};
static tvmkd_cuda_shared shared = {{.lock = PTHREAD_MUTEX_INITIALIZER}};
static const tvmkd_cuda_graph graph;

{source.library(about, "tvmkd_cuda", weights, places.arena_bytes + places.io_bytes, 1, _MEMBERS)}
static const tvmkd_cuda_graph graph = {{
  .library = &library,
  .shared = &shared,
  .functions = functions,
  .ptx = {ptx(about.name)},
  .kernels = kernels,
  .launches = launches,
  .ranges = ranges,
  .arguments = arguments,
  .inputs = input_places,
  .outputs = output_places,
  .constants = {own if graph.constants else "0"},
  .constant_bytes = {places.constant_bytes},
  .arena_bytes = {places.arena_bytes},
  .io_bytes = {places.io_bytes},
  .kernel_count = {len(kernels)},
  .launch_count = {len(launches)},
  .argument_count = {len(arguments)},
  .capability = {capability},
}};

{source.own_entry(about.name)}"""


class _Places:
    """Where every tensor lies on the device: in the arena, among the constants, or in the block for
    inputs and outputs.
    """

    def __init__(self, graph: Graph, about: About) -> None:
        self._arena, self.arena_bytes = plan(graph.calls)
        sizes = [array.nbytes for array in graph.constants]
        self._constants, self.constant_bytes = source.offsets(sizes)
        ends = [*about.inputs, *about.outputs]
        places, self.io_bytes = source.offsets(_bytes(spec) for spec in ends)
        self.inputs, self.outputs = places[: len(about.inputs)], places[len(about.inputs) :]

    def of(self, tensor: Tensor | int) -> str:
        """The argument of a launch."""
        if isinstance(tensor, int):
            return f"{{UINT64_C({tensor & 0xFFFFFFFFFFFFFFFF}), BY_VALUE}}"
        return f"{{{self._offset(tensor.storage)}, {tensor.storage.place.value}}}"

    def _offset(self, storage: Storage) -> int:
        if storage.place is Place.ARENA:
            return self._arena[storage]
        lying: dict[Place, list[int]] = {
            Place.CONSTANTS: self._constants,
            Place.INPUT: self.inputs,
            Place.OUTPUT: self.outputs,
        }
        return lying[storage.place][storage.number]


def _bytes(spec: Mapping[str, Any]) -> int:
    count = math.prod(int(size) for size in spec["shape"])
    return count * int(np.dtype(spec["dtype"]).itemsize)


def _parameters(call: Call) -> tuple[Tensor | int, ...]:
    return call.parameters if isinstance(call, Launch) else call.arguments


def _range(call: Call) -> str:
    label = call.label if isinstance(call, Launch) else call.kernel
    return quoted(label) if label else "0"


def _launch(call: Call, kernels: list[str], first: int) -> str:
    if not isinstance(call, Launch):  # a copy
        return f"{{COPY, 2, {first}, {{0}}, {{0}}, {call.arguments[0].storage.size}}}"
    grid, block = (f"{{{row(sizes)}}}" for sizes in (call.grid, call.block))
    count = len(call.parameters)
    return f"{{{kernels.index(call.kernel)}, {count}, {first}, {grid}, {block}, {call.shared}}}"
