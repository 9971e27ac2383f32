"""What TVM's importer lacks, run by ONNX Runtime inside the library, on hosts.

The same as ``--byoc onnxruntime`` does, but of ONNX nodes: Relax has no operators for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvmkd.byoc import regions
from tvmkd.byoc.region import Maker, Region
from tvmkd.export.handover import Part, changing, cut, facts, positions

ENGINE = "onnxruntime"
_MODULES = "external_mods"  # the attribute of a module whose entries a library carries along


@dataclass
class Outside:
    """The parts of a model that ONNX Runtime runs.

    Attributes:
        model: as TVM's importer reads it.
        why: the reason for each operator that was picked, by ONNX name.
        parts: what is handed over.
    """

    model: onnx.ModelProto
    why: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._whole = self.model
        self._known = facts(self._whole)
        self._picked: set[int] = set()

    def take(self, why: Callable[[onnx.NodeProto], str]) -> bool:
        """Hands over nodes.

        Args:
            why: the reason to hand a node over; empty if it stays.

        Returns:
            whether there are new ones among them.

        Raises:
            InputError: ONNX Runtime cannot load what would be handed over.
        """
        return self._take(positions(self._whole, why))

    def take_changing(self) -> bool:
        """Hands over the nodes whose results have a shape that depends on the data."""
        reason = "the shape of its output depends on the data"
        return self._take(dict.fromkeys(changing(self._whole, self._known), reason))

    def take_sizes(self, names: Iterable[str]) -> bool:
        """Hands over the nodes that give those of some tensors that could be sizes or axes."""
        sizes = {
            name
            for name in names
            if name in self._known
            and self._known[name].dtype == "int64"
            and len(self._known[name].shape or ()) <= 1
        }
        return self._take(
            {
                at: "its result is a shape"
                for at, node in enumerate(self._whole.graph.node)
                if sizes.intersection(node.output)
            }
        )

    def _take(self, picked: Mapping[int, str]) -> bool:
        new = picked.keys() - self._picked
        for at in sorted(new):
            self.why.setdefault(self._whole.graph.node[at].op_type, picked[at])
        self._picked |= new
        if new:
            self.model, self.parts = cut(self._whole, self._picked, self._known)
        return bool(new)

    def converter(self) -> type:
        """The class with which TVM's importer reads the nodes that stand for parts."""
        parts = self.parts

        class Converter(onnx_frontend.OnnxOpConverter):  # type: ignore[misc]
            """Calls a part in the library."""

            @classmethod
            def _impl_v1(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
                index = attr["part"]
                return _call(bb, symbol(index), parts[index], list(inputs))

        return Converter

    def carried(self, mod: tvm.IRModule) -> tvm.IRModule:
        """The imported module with the parts' own modules.

        Raises:
            Refused: ONNX Runtime cannot load a part.
        """
        made = [
            regions.make(symbol(index), region.to_bytes())
            for index, region in enumerate(self._regions())
        ]
        return mod.with_attr(_MODULES, made) if made else mod

    def _regions(self) -> list[Region]:
        maker = Maker(ENGINE, {})
        return [maker.make(part.model, part.inputs, list(part.outputs)) for part in self.parts]

    def report(self) -> dict[str, Any]:
        """As `tvmkd.stacks.relax.offload.offload` reports, with ``by_itself``: the reasons."""
        inside = sum((Counter(part.operators) for part in self.parts), Counter())
        whole = sum(node.op_type != "Constant" for node in self._whole.graph.node)
        return {
            "version": None,
            "engine": ENGINE,
            "codegen": "tvmkd",
            "regions": len(self.parts),
            "operators": whole,
            "offloaded": dict(inside.most_common()),
            "left": [],
            "mac_share": None,
            "by_itself": dict(self.why),
            "carried": [
                {
                    "region": symbol(index),
                    "operators": sum(part.operators.values()),
                    "form": "onnx",
                    "bytes": len(part.model),
                }
                for index, part in enumerate(self.parts)
            ],
        }

    def notes(self) -> list[str]:
        """The lines that tell the user what ONNX Runtime runs, and why."""
        count = sum(sum(part.operators.values()) for part in self.parts)
        said = "; ".join(f"{name}: {reason}" for name, reason in self.why.items())
        many = f"{count} nodes" if count > 1 else "one node"
        text = f"ONNX Runtime runs {many} inside the library ({said}): the library needs Python"
        return [f"{text} with tvmkd where it runs"]


def symbol(index: int) -> str:
    """The name of a part's function."""
    return f"{ENGINE}_part_{index}"


def merged(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> Any:
    """Two reports as one; the first one's engine stands in it."""
    if first is None or second is None:
        return first or second
    taken = Counter(first["offloaded"]) + Counter(second["offloaded"])
    return {
        **second,
        **first,
        "regions": first["regions"] + second["regions"],
        "operators": first["operators"] + sum(second["offloaded"].values()),
        "offloaded": dict(taken.most_common()),
        "carried": [*first["carried"], *second["carried"]],
    }


def _call(bb: Any, name: str, part: Part, inputs: Sequence[Any]) -> Any:
    types = [
        relax.TensorType(fact.shape, fact.dtype)
        if fact.fixed
        else relax.TensorType(dtype=fact.dtype, ndim=-1 if fact.shape is None else len(fact.shape))
        for fact in part.outputs.values()
    ]
    given = [bb.normalize(each) for each in inputs]
    takes = [relax.Var(f"x{index}", each.ty) for index, each in enumerate(given)]
    function = relax.ExternFunc(name)
    if all(fact.fixed for fact in part.outputs.values()):
        call = relax.call_dps_packed(function, relax.Tuple(takes), types)
    else:
        result = types[0] if len(types) == 1 else relax.TupleType(types)
        call = relax.op.call_pure_packed(function, *takes, ty_args=[result])
    # A function of its own until `in_place`: TVM's search for regions knows no external functions.
    own = relax.BlockBuilder()
    with own.function("part", takes):
        with own.dataflow():
            found = own.emit_output(call)
        own.emit_func_output(found)
    private = own.get()["part"].without_attr("global_symbol").with_attr("Primitive", 1)
    return bb.emit(relax.Call(bb.add_func(private, f"call_{name}"), given))


def in_place(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with the calls of parts in ``main``."""
    if not (mod.attrs and _MODULES in mod.attrs):
        return mod
    functions = {
        variable: function.without_attr("Primitive")
        if isinstance(function, relax.Function) and "global_symbol" not in (function.attrs or {})
        else function
        for variable, function in mod.functions_items()
    }
    inlined = relax.transform.InlinePrivateFunctions()(tvm.IRModule(functions, attrs=mod.attrs))
    return one_block(inlined)


def one_block(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with one block of dataflow in each function, as the passes after it need it."""
    return tvm.ir.transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.ConvertToDataflow(),
            relax.transform.CanonicalizeBindings(),
        ]
    )(mod)
