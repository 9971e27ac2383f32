"""The weights in an ONNX file: all there, and all numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tvmkd.base.errors import InputError
from tvmkd.export.graph import graphs, nodes

# Whatever these multiply with is a weight. Elsewhere an infinity can be meant, as in the masks of
# attention.
_WEIGHTED = {"BatchNormalization", "Conv", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul"}
_FLOATS: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype("<f4"),
    TensorProto.DOUBLE: np.dtype("<f8"),
    TensorProto.FLOAT16: np.dtype("<f2"),
}

WIDTHS: dict[int, int] = {
    kind: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).itemsize
    for kind in (
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.BOOL,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT32,
        TensorProto.UINT32,
        TensorProto.INT64,
        TensorProto.UINT64,
    )
}
"""Bytes of an element, of the types that a file of external weights may hold."""


def check_external(model: onnx.ModelProto, path: Path) -> list[Path]:
    """The files beside ``path`` that hold weights, each once, in the order of their use.

    Raises:
        InputError: one is missing, too short, or outside the model's folder.
    """
    files: dict[Path, int] = {}
    for tensor in _stored(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        file, offset, length = _place(tensor, path)
        files[file] = max(files.get(file, 0), offset + length)
    for file, size in files.items():
        if not file.is_file():
            raise InputError(
                f"{path}: its weights are in {file.name}, which is missing: copy it there"
            )
        if file.stat().st_size < size:
            raise InputError(
                f"{file}: cut short: {file.stat().st_size} bytes, {path.name} needs {size}"
            )
    return list(files)


def check_finite(model: onnx.ModelProto, path: Path) -> None:
    """Makes sure that no constant is NaN, and no weight infinite.

    Raises:
        InputError: names the tensor, and how many of its values are bad.
    """
    weighted = {
        name for node in nodes(model) if node.op_type in _WEIGHTED for name in node.input if name
    }
    for name, tensor in _constants(model):
        try:
            values = _values(tensor, path)
        except ValueError:  # numpy: as many values as its shape does not have
            raise InputError(
                f'{path}: weight "{name}" has more or fewer values than its shape '
                f"{list(tensor.dims)}: a damaged file: fetch or export it again"
            ) from None
        if values is None or np.isfinite(values).all():
            continue
        nan = int(np.isnan(values).sum())
        infinite = int(np.isinf(values).sum()) if name in weighted else 0
        if nan or infinite:
            what = "NaN" if nan else "infinite"
            raise InputError(
                f'{path}: weight "{name}": {nan or infinite} of {values.size} values are {what}; '
                "the training diverged or the file is damaged: export from a good checkpoint"
            )


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Initializers, and the values of Constant nodes, by the name that nodes read them under."""
    for graph in graphs(model):
        for tensor in graph.initializer:
            yield tensor.name, tensor
        for sparse in graph.sparse_initializer:
            yield sparse.values.name, sparse.values
    for node in nodes(model):
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield node.output[0], attribute.t


def _stored(model: onnx.ModelProto) -> Iterator[TensorProto]:
    for _, tensor in _constants(model):
        yield tensor


def _place(tensor: TensorProto, path: Path) -> tuple[Path, int, int]:
    """The file of a tensor with external data, where it starts there and how long it is."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    relative = Path(location)
    if not location or relative.is_absolute() or ".." in relative.parts:
        raise InputError(
            f'{path}: weight "{tensor.name}" is in "{location}", outside the model\'s folder'
        )
    try:
        offset = int(facts.get("offset") or 0)
        length = int(facts["length"]) if facts.get("length") else _bytes(tensor)
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or (tensor.data_type in WIDTHS and length < _bytes(tensor)):
        raise InputError(
            f'{path}: weight "{tensor.name}": its place in {location} is damaged '
            f"({facts.get('offset', 0)}, {facts.get('length', 0)}): fetch or export the file again"
        )
    return path.parent / relative, offset, length


def _bytes(tensor: TensorProto) -> int:
    width = WIDTHS.get(tensor.data_type)
    return 0 if width is None else width * math.prod(tensor.dims)


def load(compiled: Path, path: Path) -> onnx.ModelProto:
    """Reads the file that compilers read, with all its weights.

    Args:
        compiled: the file.
        path: the user's file, beside which external weights lie.
    """
    model = onnx.load(str(compiled), load_external_data=False)
    load_external(model, path)
    return model


def load_external(model: onnx.ModelProto, path: Path, most: int | None = None) -> None:
    """Reads the external weights of a parsed file into the model.

    Links to regular files are followed: the cache of Hugging Face is made of them.

    Args:
        model: of the file, checked by `check_external`; changed in place.
        path: the file.
        most: weights of more bytes stay outside; None: none do.
    """
    for tensor in _stored(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        file, offset, length = _place(tensor, path)
        if most is not None and length > most:
            continue
        with file.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT


def _values(tensor: TensorProto, path: Path) -> np.ndarray[Any, Any] | None:
    """The floats of a tensor; None for other types. Large external ones are mapped, not read."""
    if tensor.data_location == TensorProto.EXTERNAL and tensor.data_type in _FLOATS:
        file, offset, length = _place(tensor, path)
        kind = _FLOATS[tensor.data_type]
        count = (length // kind.itemsize) if length else int(np.prod(tensor.dims))
        return np.memmap(file, kind, "r", offset, (count,)) if count else None
    if tensor.data_type in _FLOATS or tensor.data_type == TensorProto.BFLOAT16:
        values: np.ndarray[Any, Any] = numpy_helper.to_array(tensor, str(path.parent))
        return values.astype(np.float32) if tensor.data_type == TensorProto.BFLOAT16 else values
    return None
