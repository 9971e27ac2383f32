"""Another form of a model that ONNX Runtime cannot load, which it can: of an older operator set, or
with plain operators.

New versions of an operator often differ only in the types that they take, and ONNX Runtime follows
later. The reference evaluator of onnx itself, which is slow, says whether both forms compute the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from tvmkd.base.agreement import Output, compare
from tvmkd.base.onnx_runtime import open_session
from tvmkd.export.check import ModelInfo
from tvmkd.export.graph import graphs
from tvmkd.export.rewrites import lower
from tvmkd.export.samples import Sample, Sampler
from tvmkd.export.site import OURS

OLDEST = 13
_SAMPLES = 3
_BOUNDS = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-8}


def stand_in(path: Path, model: onnx.ModelProto, info: ModelInfo) -> onnx.ModelProto | None:
    """A model with the same inputs and outputs that ONNX Runtime can load; None if there is none.

    Args:
        path: of the file, for messages.
        model: with fixed input sizes and its weights inside; stays as it is.
        info: facts of the file.
    """
    specs = [{"name": each.name, "shape": each.shape, "dtype": each.dtype} for each in info.inputs]
    try:
        samples = [first for first, *_ in islice(Sampler(model, specs).samples(), _SAMPLES)]
        evaluator = ReferenceEvaluator(model)
        wanted = [[np.asarray(each) for each in evaluator.run(None, dict(s))] for s in samples]
    except Exception:  # the evaluator lacks operators and types too
        return None
    for form in _forms(model, str(path)):
        if _same(form, samples, wanted):
            return form
    return None


def _forms(model: onnx.ModelProto, where: str) -> Iterator[onnx.ModelProto]:
    """Forms that may do, those that change least first."""
    yield from older(model)
    plain, _ = lower(model, where)
    if plain is not model:
        yield plain
        yield from older(plain)


def older(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """The model in older operator sets, the newest first, as far as its operators are the same in
    all but the types that they take.
    """
    opset = next((e.version for e in model.opset_import if e.domain in OURS), OLDEST)
    used = {n.op_type for g in graphs(model) for n in g.node if n.domain in OURS}
    for version in range(opset - 1, OLDEST - 1, -1):
        if not all(_alike(operator, version, opset) for operator in used):
            return
        result = onnx.ModelProto()
        result.CopyFrom(model)
        for entry in result.opset_import:
            if entry.domain in OURS:
                entry.version = version
        yield result


def _alike(operator: str, version: int, newer: int) -> bool:
    """Whether an operator has the same inputs, outputs and attributes in two operator sets."""
    try:
        schemas = [onnx.defs.get_schema(operator, each) for each in (version, newer)]
    except onnx.defs.SchemaError:
        return False
    first, second = (
        (
            [(each.name, each.option) for each in (*schema.inputs, *schema.outputs)],
            {name: (each.type, each.required) for name, each in schema.attributes.items()},
            schema.deprecated,
        )
        for schema in schemas
    )
    return first == second


def _same(model: onnx.ModelProto, samples: list[Sample], wanted: list[list[np.ndarray]]) -> bool:
    """Whether ONNX Runtime loads a model, and gives what is wanted."""
    found = {}
    try:
        session = open_session(model.SerializeToString(), threads=1, optimize=False)
        for i, sample in enumerate(samples):
            for j, output in enumerate(session.run(None, dict(sample))):
                found[f"{i}.{j}"] = np.asarray(output)
    except Exception:  # those of ONNX Runtime have no common base class
        return False
    outputs = [
        Output(str(j), [[each[j]] for each in wanted], _BOUNDS.get(wanted[0][j].dtype.name, 0.0))
        for j in range(len(wanted[0]))
    ]
    return compare(outputs, found).agrees
