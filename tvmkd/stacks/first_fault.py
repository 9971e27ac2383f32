"""Finds the operator of a model that a compiler fails on: it raises an error, or it crashes.

A compiler's error names a line of the compiler. So parts of the model are compiled until one
operator is left, or a few that fail only together.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from tvmkd.base.errors import InputError, InternalError, TvmkdError, WorkerDied
from tvmkd.export.subgraph import ancestors, prefix, reads
from tvmkd.export.walk import inferred

BUILDS, SECONDS = 24, 90.0
"""How many parts of a model are compiled at most, and when the last one may begin."""
LINE, REASON, NAME = 290, 110, 40
"""Characters of a message, of the reason in it, and of a node's name in it."""

Try = Callable[[Path], str]
"""Compiles an ONNX file; returns the compiler's error, or an empty text."""


@dataclass(frozen=True)
class Found:
    """What a compiler fails on.

    Attributes:
        nodes: operator and name (or first output) of each node: one, or the first and the last of
            those that fail only together.
        exact: the nodes fail by themselves; False: perhaps only together with others before them.
        part: the smallest model that fails, as an ONNX file's content.
    """

    nodes: tuple[tuple[str, str], ...]
    exact: bool
    part: bytes

    @property
    def text(self) -> str:
        """The nodes as a message names them."""
        named = [f'{operator} (node "{name[-NAME:]}")' for operator, name in self.nodes]
        return f"{'' if self.exact else 'in or before '}{' to '.join(named)}"


def find(
    path: Path, shapes: Mapping[str, Sequence[int | str]], reason: str, attempt: Try
) -> Found | None:
    """Compiles parts of a model until the operator is found that the compiler fails on.

    First the shortest beginning of the model that fails is searched by bisection, then the fewest
    nodes at its end that do. Ends early after `BUILDS` parts or `SECONDS`.

    Args:
        path: the file that the compiler reads.
        shapes: of its inputs, with the sizes of free dimensions.
        reason: the compiler's error on the whole file. A part with another error counts as right.
        attempt: compiles a part.

    Returns:
        the nodes; None where the whole file compiles when it is tried again, where a model of one
        ``Identity`` fails too, or where the model cannot be cut.
    """
    try:
        model = onnx.load(path)
        _give_sizes(model, shapes)
        search = _Search(model, attempt, _kind(reason))
    except Exception:  # protobuf's over 2 GB; shapes that contradict each other
        return None
    with tempfile.TemporaryDirectory(prefix="tvmkd-part-") as work:
        search.folder = Path(work)
        return search.run()


def _give_sizes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int | str]]) -> None:
    for entry in model.graph.input:
        dims = entry.type.tensor_type.shape.dim
        for dim, size in zip(dims, shapes.get(entry.name, ()), strict=False):
            if isinstance(size, int):
                dim.dim_value = size


def _kind(reason: str) -> str:
    """What stays the same of an error on another part: its place, or its first words."""
    place = re.search(r"\w+ at \S+:\d+|signal SIG\w+|exit code \d+", reason)
    return place.group() if place else reason[:20]


class _Search:
    folder: Path

    def __init__(self, model: onnx.ModelProto, attempt: Try, kind: str) -> None:
        self._model, self._attempt, self._kind = model, attempt, kind
        typed = inferred(model, "")
        self._types = {
            entry.name: entry
            for entry in (*typed.input, *typed.value_info, *typed.output)
            if entry.type.tensor_type.elem_type
        }
        self._builds, self._end = 0, time.monotonic() + SECONDS

    def run(self) -> Found | None:
        nodes = self._model.graph.node
        cuts = [
            at
            for at, node in enumerate(nodes)
            if node.op_type != "Constant" and all(o in self._types for o in node.output if o)
        ]
        if not cuts or not self._fails(self._model):
            return None
        right, wrong = -1, len(cuts) - 1
        while wrong - right > 1 and self._left:
            middle = (right + wrong) // 2
            if self._fails(self._beginning(cuts[middle])):
                wrong = middle
            else:
                right = middle
        last = cuts[wrong]
        if wrong - right > 1:
            return self._found([last], self._beginning(last), exact=False)
        if wrong == 0 and self._fails(self._identity()):
            return None
        return self._fewest(last)

    def _fewest(self, last: int) -> Found:
        """The fewest nodes that fail, of those that the node ``last`` is computed from."""
        chain = ancestors(self._model.graph, self._model.graph.node[last].output)
        alone, best = self._ending(chain[-1:]), None
        first, right = 0, len(chain) - 1
        if alone is not None and self._fails(alone):
            first, best = right, alone
        while right - first > 1 and self._left:
            middle = (first + right) // 2
            part = self._ending(chain[middle:])
            if part is not None and self._fails(part):
                first, best = middle, part
            else:
                right = middle
        if best is None:
            whole = self._ending(chain)
            best = whole if whole is not None and self._fails(whole) else None
        if best is None:
            return self._found([last], self._beginning(last), exact=False)
        return self._found(dict.fromkeys([chain[first], last]), best, exact=True)

    @property
    def _left(self) -> bool:
        return self._builds < BUILDS and time.monotonic() < self._end

    def _fails(self, part: onnx.ModelProto) -> bool:
        """Whether the compiler fails on a part with the same error."""
        path = self.folder / f"part{self._builds}.onnx"
        self._builds += 1
        onnx.save(part, path)
        return self._kind in self._attempt(path)

    def _beginning(self, last: int) -> onnx.ModelProto:
        """The nodes up to ``last``, with all outputs that none of them reads."""
        nodes = self._model.graph.node[: last + 1]
        read = {name for node in nodes for name in reads(node)}
        ends = [
            self._types[name]
            for node in nodes
            for name in node.output
            if name in self._types and name not in read
        ]
        return prefix(self._model, ends)

    def _ending(self, positions: Sequence[int]) -> onnx.ModelProto | None:
        """Some nodes as a model of their own; None where a tensor that they read has no type."""
        graph = self._model.graph
        nodes = [graph.node[at] for at in positions]
        made = {name for node in nodes for name in node.output}
        weights = {entry.name for entry in graph.initializer}
        constants = {o for n in graph.node if n.op_type == "Constant" for o in n.output}
        open_ = dict.fromkeys(
            name for node in nodes for name in reads(node) if name not in made | weights | constants
        )
        if any(name not in self._types for name in open_):
            return None
        part = onnx.ModelProto()
        part.CopyFrom(self._model)
        kept = set(positions)
        del part.graph.node[:], part.graph.input[:]
        part.graph.node.extend(
            node for at, node in enumerate(graph.node) if at in kept or node.op_type == "Constant"
        )
        part.graph.input.extend(self._types[name] for name in open_)
        ends = [self._types[name] for name in nodes[-1].output if name in self._types]
        return prefix(part, ends)

    def _identity(self) -> onnx.ModelProto:
        """A model that every compiler compiles, unless it fails on all."""
        helper = onnx.helper
        shape = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [1, 4])
        ends = [helper.make_value_info(name, shape) for name in ("x", "y")]
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])], "identity", ends[:1], ends[1:]
        )
        return helper.make_model(
            graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )

    def _found(self, positions: Iterable[int], part: onnx.ModelProto, *, exact: bool) -> Found:
        nodes = [self._model.graph.node[at] for at in positions]
        named = tuple((node.op_type, node.name or node.output[0]) for node in nodes)
        return Found(named, exact, part.SerializeToString())


def ours(error: TvmkdError) -> bool:
    """Whether an error of a worker was raised in tvmkd itself, as far as its traceback says."""
    if isinstance(error, WorkerDied):
        return False
    files = re.findall(r'File "([^"]+)", line \d+', error.details)
    for file in reversed(files):
        place = re.findall(r"/(tvmkd|tvm|tvm_ffi|src)/", file)
        if place:
            return bool(place[-1] == "tvmkd")
    return True


def explained(path: Path, stack: str, found: Found, error: TvmkdError, advice: str) -> TvmkdError:
    """The error to raise for a model that cannot be compiled: it names the nodes.

    Args:
        path: the model.
        stack: the compiler.
        found: what it fails on.
        error: as the compiler raised it on the whole model.
        advice: what to do.

    Returns:
        an `InputError`, or an `InternalError` where the fault is in tvmkd itself.
    """
    cause = " ".join(str(error).split())
    cause = cause if len(cause) <= REASON else f"{cause[: REASON - 3]}..."
    kind: type[TvmkdError] = InternalError if ours(error) else InputError
    for place in (str(path), path.name, path.name[-40:]):
        text = f"{place}: the {stack} stack cannot compile {found.text}: {cause}; {advice}"
        if len(text) <= LINE:
            break
    raised = kind(text)
    raised.details = error.details
    return raised
