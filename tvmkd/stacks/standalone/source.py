"""Writes a graph as C: tables of tensors and arguments, and one function of calls for each exit."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvmkd.base.errors import TvmkdError
from tvmkd.base.exits import Rule
from tvmkd.base.frame_description import Frames
from tvmkd.stacks.standalone import exits as early_exits
from tvmkd.stacks.standalone import frames
from tvmkd.stacks.standalone.c_text import Shapes, described, quoted, row, rows
from tvmkd.stacks.standalone.graph import Graph, Place, Tensor, aligned, plan

_SORTS = """
static const char *const uses_sorts __attribute__((used)) = &tvmkd_rt_sorts;
"""
MOST_TENSORS = 0xFFFF
"""Of a model: the runtime counts them with 16 bits."""

_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLPack's, by numpy's kind

# Where CPUID tells of a feature: leaf, register (EAX is 0), bit; by the kernel's name. 0x71 stands
# for leaf 7 with subleaf 1, 0x81 for leaf 0x80000001.
_X86 = {
    "fma": (1, 2, 12),
    "movbe": (1, 2, 22),
    "avx": (1, 2, 28),
    "f16c": (1, 2, 29),
    "bmi1": (7, 1, 3),
    "avx2": (7, 1, 5),
    "bmi2": (7, 1, 8),
    "avx512f": (7, 1, 16),
    "avx512dq": (7, 1, 17),
    "avx512cd": (7, 1, 28),
    "avx512bw": (7, 1, 30),
    "avx512vl": (7, 1, 31),
    "avx512_vnni": (7, 2, 11),
    "avx_vnni": (0x71, 0, 4),
    "abm": (0x81, 2, 5),
}
_HWCAP = {"asimd": 1, "fphp": 9, "asimdhp": 10, "asimddp": 20}  # bits of AArch64's AT_HWCAP


@dataclass(frozen=True)
class About:
    """What a library says of itself.

    Attributes:
        name: the model's.
        target: the target's name.
        built_by: tvmkd and its compiler, with versions.
        digest: SHA-256 of the ONNX file, in hex.
        inputs, outputs: ``{"name", "shape", "dtype"}`` of each, in order.
        threads: cores of the target.
        features: CPU features that the code needs, by the kernel's names.
        scratch: bytes of scratch memory of a thread.
        exits: when a network with early exits leaves at one; None: it has none. See `tvmkd.h`.
        cpu: LLVM's name of the CPU that the code is for; empty for any.
        frames: what it does with frames; None: nothing. A detector's anchors are then the graph's
            last constant.
    """

    name: str
    target: str
    built_by: str
    digest: str
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    threads: int
    features: Collection[str]
    scratch: int
    exits: Rule | None = None
    cpu: str = ""
    frames: Frames | None = None


def identifier(name: str) -> str:
    """A model's name as a C identifier: ``my-net.v2`` becomes ``my_net_v2``."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII).lower().strip("_")
    return plain if plain and plain[0].isalpha() else f"model_{plain}".rstrip("_")


def constants(name: str) -> str:
    """The symbol of a model's constants."""
    return f"{identifier(name)}_constants"


def offsets(sizes: Iterable[int]) -> tuple[list[int], int]:
    """Where constants of these sizes lie one after the other, and how much they take, in bytes."""
    found, total = [], 0
    for size in sizes:
        found.append(total)
        total += aligned(size)
    return found, total


def write(graph: Graph, about: About, sorts: bool = False) -> str:
    """The C file of a model.

    Args:
        graph: its calls.
        about: what the library says of itself.
        sorts: whether kernels call what ``sort.c`` has.

    Raises:
        TvmkdError: the target needs a CPU feature that libraries cannot look for.
    """
    tensors = _in_order(graph)
    if len(tensors) > MOST_TENSORS:
        raise TvmkdError(f"{about.name}: has more than {MOST_TENSORS:,} tensors")
    arena, arena_bytes = plan(graph.calls)
    lying, _ = offsets(array.nbytes for array in graph.constants)
    numbers = {tensor: number for number, tensor in enumerate(tensors)}
    shapes = Shapes()
    places = []
    for tensor in tensors:
        storage = tensor.storage
        offset = storage.number
        if storage.place is Place.ARENA:
            offset = arena[storage]
        elif storage.place is Place.CONSTANTS:
            offset = lying[storage.number]
        shape, strides = shapes.add(tensor.shape), shapes.add(_strides(tensor.shape))
        code, bits = _CODES[tensor.dtype.kind], tensor.dtype.itemsize * 8
        rank = len(tensor.shape)
        places.append(
            f"{{{shape}, {strides}, {offset}, {storage.place.value}, {code}, {bits}, {rank}}}"
        )
    arguments = [numbers[tensor] for call in graph.calls for tensor in call.arguments]
    weights = sum(array.nbytes for array in graph.constants)
    tensors_of = {
        kind: [described(spec, shapes) for spec in specs]
        for kind, specs in (("inputs", about.inputs), ("outputs", about.outputs))
    }
    parts = _parts(graph)
    tables = ""
    if about.frames is not None:
        has_anchors = about.frames.detector is not None
        anchors = f"{constants(about.name)} + {lying[-1]}" if has_anchors else "0"
        tables = frames.write(about.frames, anchors, quoted)
    members = early_exits.members(about.exits)
    members += frames.MEMBERS if about.frames else ""
    return f"""/* {about.name}, compiled by {about.built_by}. Made by a program. */
#include "runtime.h"
{_SORTS if sorts else ""}
extern const unsigned char {constants(about.name)}[] __attribute__((visibility("hidden")));
{_declarations(graph)}
{shapes.text()}
static const tvmkd_place places[] = {{
  {rows(places)}
}};
static const uint16_t arguments[] = {{{row(arguments)}}};
static const char *const kernels[] = {{
  {rows([quoted(call.kernel) for call in graph.calls] or ["0"])}
}};
static const uint32_t features[] = {{{", ".join([*_needs(about), "0"])}}};
static const tvmkd_tensor inputs[] = {{
  {rows(tensors_of["inputs"] or ["{0}"])}
}};
static const tvmkd_tensor outputs[] = {{
  {rows(tensors_of["outputs"])}
}};
{early_exits.tables(about.exits)}{tables}{"".join(parts)}
static int32_t (*const parts[])(const tvmkd_argument *) = {{{_names(parts)}}};
static const tvmkd_graph graph;

{library(about, "tvmkd_rt", weights, arena_bytes, len(parts), members)}
static const tvmkd_graph graph = {{
  .library = &library,
  .places = places,
  .arguments = arguments,
  .kernels = kernels,
  .constants = {constants(about.name) if graph.constants else "0"},
  .place_count = {len(places)},
  .argument_count = {len(arguments)},
  .scratch_bytes = {aligned(about.scratch)},
  .threads = {about.threads},
  .features = features,
  .parts = parts,
{frames.GRAPH_MEMBERS if about.frames else ""}}};

{own_entry(about.name)}"""


def library(
    about: About, prefix: str, weights: int, arena: int, exits: int, members: str = ""
) -> str:
    """The library's description, and the function that opens its ``graph``.

    Args:
        about: what it says of itself.
        prefix: of the runtime's functions.
        weights, arena: bytes.
        exits: their number.
        members: further initialisers, a line each.
    """
    return f"""static tvmkd_status open_it(const tvmkd_options *options,
                            tvmkd_instance **instance) {{
  return {prefix}_open(&graph, options, instance);
}}

static const tvmkd_library library = {{
  .size = sizeof(tvmkd_library),
  .api_version = TVMKD_API_VERSION,
  .name = {quoted(about.name)},
  .target = {quoted(about.target)},
  .built_by = {quoted(about.built_by)},
  .digest = {quoted(about.digest)},
  .inputs = inputs,
  .outputs = outputs,
  .input_count = {len(about.inputs)},
  .output_count = {len(about.outputs)},
  .weight_bytes = {weights},
  .arena_bytes = {arena},
  .exit_count = {exits},
  .open = open_it,
  .run = {prefix}_run,
  .run_until = {prefix}_run_until,
  .last_error = {prefix}_last_error,
  .close = {prefix}_close,
  .run_exit = {prefix}_run_exit,
{members}}};"""


def own_entry(name: str) -> str:
    """The function by which a model is known beside others in one program."""
    own = f"{identifier(name)}_library"
    return f"""const tvmkd_library *{own}(void);
__attribute__((visibility("default")))
const tvmkd_library *{own}(void) {{ return &library; }}
"""


def entry(name: str) -> str:
    """The C file of the entry that every shared library has; see ``tvmkd.h``."""
    own = f"{identifier(name)}_library"
    return f"""#include "tvmkd.h"
const tvmkd_library *{own}(void);
__attribute__((visibility("default")))
const tvmkd_library *tvmkd_library_v1(void) {{ return {own}(); }}
"""


def _in_order(graph: Graph) -> list[Tensor]:
    """Every tensor once: the inputs' first, then the outputs', which the runtime binds in a run."""
    rank = {Place.INPUT: 0, Place.OUTPUT: 1, Place.CONSTANTS: 2, Place.ARENA: 3}
    found = dict.fromkeys(tensor for call in graph.calls for tensor in call.arguments)
    return sorted(found, key=lambda each: rank[each.storage.place])


def _declarations(graph: Graph) -> str:
    symbols = sorted({call.symbol for call in graph.calls} - {"tvmkd_rt_copy"})
    return "\n".join(f"tvmkd_kernel {symbol};" for symbol in symbols)


def _parts(graph: Graph) -> list[str]:
    texts, begin, place = [], 0, 0
    for number, end in enumerate(graph.ends):
        lines = []
        for index in range(begin, end):
            call = graph.calls[index]
            count = len(call.arguments)
            lines.append(f"  if ({call.symbol}(0, a + {place}, {count}, &r)) return {index + 1};\n")
            place += count
        head = f"\nstatic int32_t part_{number}(const tvmkd_argument *a) {{\n"
        texts.append(
            f"{head}  tvmkd_argument r;\n  (void)a, (void)r;\n{''.join(lines)}  return 0;\n}}\n"
        )
        begin = end
    return texts


def _names(parts: Sequence[str]) -> str:
    return ", ".join(f"part_{number}" for number in range(len(parts)))


def _needs(about: About) -> list[str]:
    needs = []
    for feature in sorted(about.features):
        if feature in _X86:
            needs.append("NEED_X86({:#x}, {}, {})".format(*_X86[feature]))
        elif feature in _HWCAP:
            needs.append(f"NEED_HWCAP({_HWCAP[feature]})")
        else:
            raise TvmkdError(f"{about.target}: a library cannot look for the feature {feature}")
    return needs


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    return tuple(reversed(steps))
