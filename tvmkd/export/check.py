"""Checks every ONNX file, exported by tvmkd or given by the user, before it is compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from tvmkd.base.errors import InputError
from tvmkd.base.files import sha256
from tvmkd.base.text import listing, suggest
from tvmkd.export.graph import operators, unsupported
from tvmkd.export.weights import check_external, check_finite

_PROTOBUF_LIMIT = 1 << 31


@dataclass(frozen=True)
class Tensor:
    """An input or output: name, shape (a string is a free size) and numpy dtype."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


@dataclass(frozen=True)
class ModelInfo:
    """Facts of an ONNX file that passed the checks.

    Attributes:
        path: the file.
        inputs, outputs: in the file's order; weights are no inputs.
        sha256: of the file; with external data, of the hashes of file and data.
        opset: version of the operator set ``ai.onnx``.
        operators: number of nodes of each operator, ``Conv`` or ``com.example::Custom``.
        metadata: the ``metadata_props``.
        external: files of external weights.
    """

    path: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sha256: str
    opset: int
    operators: dict[str, int]
    metadata: dict[str, str]
    external: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            **asdict(self),
            "path": str(self.path),
            "external": [str(path) for path in self.external],
        }


def check(
    path: Path, dims: Mapping[str, int] | None = None, supported: Set[str] | None = None
) -> ModelInfo:
    """Makes sure that an ONNX file is valid and complete, and uses supported operators only.

    Args:
        path: the file.
        dims: sizes of free dimensions: by their name in the file, or by ``INPUT.AXIS``
            (``image.0``) if they have none.
        supported: the compiler's operators by ONNX name (``domain::Name`` outside ``ai.onnx``);
            None: all operators of ONNX.

    Raises:
        InputError: the file is missing, truncated or not valid ONNX; external data is missing; an
            operator is not supported (the message names its nodes); a free dimension has no size;
            or weights are NaN or infinite.
    """
    model = parse(path)
    external = check_external(model, path)
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: a damaged ONNX file: its graph has no nodes or no outputs")
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if "ai.onnx" not in versions:
        raise InputError(f"{path}: a damaged ONNX file: it does not say its operator set")
    problem = unsupported(model, supported)
    if problem:
        raise InputError(f"{path}: {problem}")
    inputs = _fix(model, path, dict(dims or {}))
    _validate(path)
    check_finite(model, path)
    outputs = _inferred(model, path)
    return ModelInfo(
        path=path,
        inputs=tuple(_tensor(entry) for entry in inputs),
        outputs=tuple(_tensor(entry) for entry in outputs),
        sha256=digest(path, external),
        opset=versions["ai.onnx"],
        operators=operators(model),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        external=tuple(external),
    )


def parse(path: Path) -> onnx.ModelProto:
    """Parses a file, without its external weights.

    Raises:
        InputError: the file is missing, truncated or no ONNX file.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if path.is_dir():
        raise InputError(f"{path}: is a folder; give an ONNX file")
    if not path.exists():
        raise InputError(f"{path}: there is no such file; give an ONNX file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        # An ONNX file starts with ir_version: the tag 0x08 and a small number.
        if len(data) > 2 and data[0] == 0x08 and data[1] < 0x20:
            raise InputError(
                f"{path}: cut short or damaged ({len(data)} bytes): fetch or export it again"
            ) from None
        raise InputError(f"{path}: not an ONNX file") from None
    if not data or not model.ir_version or not model.HasField("graph"):
        what = "an empty file" if not data else "not an ONNX file, or cut short"
        raise InputError(f"{path}: {what}; fetch or export it again")
    return model


def _validate(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # onnx raises ValidationError, and C++ errors of other kinds
        text = " ".join(str(error).split())
        raise InputError(f"{path}: not a valid ONNX model: {text[:300]}") from None


def _fix(model: onnx.ModelProto, path: Path, dims: dict[str, int]) -> list[onnx.ValueInfoProto]:
    """Sets ``dims`` in the inputs of ``model``; returns the inputs that are no weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    wanted: dict[str, str] = {}
    for entry in inputs:
        if not entry.type.HasField("tensor_type"):
            raise InputError(f'{path}: input "{entry.name}" is not a tensor')
        if not entry.type.tensor_type.HasField("shape"):
            raise InputError(f'{path}: input "{entry.name}" has no shape; export it with one')
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                if dim.dim_value < 1:
                    raise InputError(
                        f'{path}: input "{entry.name}" has size {dim.dim_value} on axis {axis}'
                    )
                continue
            by_axis = f"{entry.name}.{axis}"
            name = dim.dim_param or by_axis
            key = by_axis if by_axis in dims else name
            wanted.setdefault(key, f'axis {axis} of input "{entry.name}"')
            if key in dims:
                if dims[key] < 1:
                    raise InputError(f"{path}: size {dims[key]} for {key}: it is at least 1")
                dim.dim_value = dims[key]
    for name in dims:
        if name not in wanted:
            known = f"; free are: {listing(wanted)}" if wanted else "; it has none"
            raise InputError(
                f'{path}: there is no free dimension "{name}"{suggest(name, wanted) or known}'
            )
    free = {name: where for name, where in wanted.items() if name not in dims}
    if free:
        places = ", ".join(f'"{name}" ({where})' for name, where in free.items())
        example = " ".join(f"--dim {name}=1" for name in free)
        raise InputError(f"{path}: free dimensions {places}: give their sizes, as in {example}")
    return inputs


def _inferred(model: onnx.ModelProto, path: Path) -> list[onnx.ValueInfoProto]:
    """The outputs, with shapes inferred from the inputs' shapes."""
    if model.ByteSize() > _PROTOBUF_LIMIT - (1 << 20):
        return list(model.graph.output)
    # Stored shapes with free sizes would contradict the shapes inferred with `dims`.
    del model.graph.value_info[:]
    for entry in model.graph.output:
        for dim in entry.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.ClearField("dim_param")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # InferenceError, and C++ errors of other kinds
        text = " ".join(str(error).split())
        raise InputError(f"{path}: its shapes contradict each other: {text[:300]}") from None
    return list(inferred.graph.output)


def _tensor(entry: onnx.ValueInfoProto) -> Tensor:
    kind = entry.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in kind.shape.dim
    )
    return Tensor(entry.name, shape, str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)))


def digest(path: Path, external: list[Path]) -> str:
    """The SHA-256 of a model's file; with external data, of the hashes of file and data."""
    if not external:
        return sha256(path)
    return hashlib.sha256("\n".join(map(sha256, [path, *external])).encode()).hexdigest()
