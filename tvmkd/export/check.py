"""Checks every ONNX file, exported by tvmkd or given by the user, before it is compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx

from tvmkd.base.errors import InputError
from tvmkd.base.files import sha256
from tvmkd.export import sizes
from tvmkd.export.graph import graphs, operators, unsupported
from tvmkd.export.training import without_fixed_result
from tvmkd.export.walk import skeleton
from tvmkd.export.weights import WIDTHS, check_external, check_finite

_PLAIN = 18  # the operator set of files without operators of ai.onnx
_ELEMENTS = WIDTHS.keys() - {onnx.TensorProto.BFLOAT16}


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
        normalised: a copy with fixed sizes that compilers read in place of the file; see
            `tvmkd.export.door.admit`. None: they read the file.
        steps: what was done to make it.
        left_out: steps that were left out, with the reason.
        reasons: why a node has no plain form, by its name (or that of its first output).
        assumed: free dimensions that were taken as 1, because no size was given.
        stand_in: a file in another form that ONNX Runtime can load; None: it loads the file. See
            `tvmkd.export.stand_in`.
        named: what the model is called; empty: the file's name.
    """

    path: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sha256: str
    opset: int
    operators: dict[str, int]
    metadata: dict[str, str]
    external: tuple[Path, ...] = ()
    normalised: Path | None = None
    steps: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    assumed: dict[str, int] = field(default_factory=dict)
    stand_in: Path | None = None
    named: str = ""

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.named or self.path.stem

    @property
    def compiled(self) -> Path:
        """The file that compilers read."""
        return self.normalised or self.runnable

    @property
    def runnable(self) -> Path:
        """The file that ONNX Runtime runs, for comparison."""
        return self.stand_in or self.path

    @property
    def assumptions(self) -> list[str]:
        """A line for people on each free dimension that was taken as 1."""
        return [
            f"{name} is free: {name}={size} is used (--dim {name}=N for another)"
            for name, size in self.assumed.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            **asdict(self),
            "path": str(self.path),
            "external": [str(path) for path in self.external],
            "normalised": None if self.normalised is None else str(self.normalised),
            "stand_in": None if self.stand_in is None else str(self.stand_in),
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
            operator is not supported (the message names its nodes), or has no fixed result; a free
            dimension has no size;
            or weights are NaN or infinite.
    """
    return check_parsed(parse(path), path, dims, supported)


def check_parsed(
    model: onnx.ModelProto,
    path: Path,
    dims: Mapping[str, int] | None = None,
    supported: Set[str] | None = None,
) -> ModelInfo:
    """Does what `check` does for a file that `parse` has read.

    Args:
        model: of the file; its inputs get the sizes.
        path, dims, supported: as for `check`.

    Raises:
        InputError: as `check` does.
    """
    external = check_external(model, path)
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: a damaged ONNX file: its graph has no nodes or no outputs")
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if not versions:
        raise InputError(
            f"{path}: a damaged ONNX file: it has no version of the operator set ai.onnx"
        )
    if "ai.onnx" not in versions:  # a tree or a normaliser of ai.onnx.ml alone
        versions["ai.onnx"] = _PLAIN
        model.opset_import.append(onnx.helper.make_opsetid("", _PLAIN))
    newest = onnx.defs.onnx_opset_version()
    if versions["ai.onnx"] > newest:
        raise InputError(
            f"{path}: is in opset {versions['ai.onnx']}, and this onnx {onnx.__version__} knows "
            f"{newest}: export it with opset {newest} or older"
        )
    _refuse_unknown_types(model, path)
    problem = unsupported(model, supported) or without_fixed_result(model)
    if problem:
        raise InputError(f"{path}: {problem}")
    assumed = sizes.free_batch(model, dims or {})
    inputs = sizes.fix(model, path, {**assumed, **(dims or {})})
    _validate(model, path)
    check_finite(model, path)
    outputs = _inferred(model, path)
    return ModelInfo(
        path=path,
        inputs=tuple(_tensor(entry, path, "input") for entry in inputs),
        outputs=tuple(_tensor(entry, path, "output") for entry in outputs),
        sha256=digest(path, external),
        opset=versions["ai.onnx"],
        operators=operators(model),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        external=tuple(external),
        assumed=assumed,
    )


def input_shapes(path: Path, dims: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """The shape of each input that is no weight, with ``dims`` in place of free dimensions.

    Raises:
        InputError: the file cannot be read, or a size is missing or does not fit.
    """
    model = parse(path)
    inputs = sizes.fix(model, path, {**sizes.free_batch(model, dims or {}), **(dims or {})})
    return {
        entry.name: tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
        for entry in inputs
    }


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
    try:
        # With a line break in it, a name would make two lines of every message.
        readable = all(
            isinstance(text, str) and text.splitlines() in ([], [text]) for text in _texts(model)
        )
    except UnicodeDecodeError:
        readable = False
    if not readable:
        raise InputError(
            f"{path}: a damaged ONNX file: a name in it is not UTF-8, or has a line break: "
            "fetch or export it again"
        )
    if not data or not model.ir_version or not model.HasField("graph"):
        what = "an empty file" if not data else "not an ONNX file, or cut short"
        raise InputError(f"{path}: {what}; fetch or export it again")
    return model


def _texts(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """All names; protobuf gives bytes for, or fails on, those that are no UTF-8."""
    yield from (entry.domain for entry in model.opset_import)
    for graph in graphs(model):
        yield graph.name
        for entry in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
            yield entry.name
        for entry in (*graph.input, *graph.output):
            yield from (dim.dim_param for dim in entry.type.tensor_type.shape.dim)
        for node in graph.node:
            yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)


def _refuse_unknown_types(model: onnx.ModelProto, path: Path) -> None:
    """Makes sure that every tensor has an element type of ONNX: a damaged file may have any number.

    Raises:
        InputError: names the first tensor that has another one.
    """
    known = set(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}
    for graph in graphs(model):
        kinds = [(tensor.name, tensor.data_type) for tensor in graph.initializer]
        kinds += [
            (entry.name, entry.type.tensor_type.elem_type)
            for entry in (*graph.input, *graph.output, *graph.value_info)
            if entry.type.HasField("tensor_type")
        ]
        for name, kind in kinds:
            if kind not in known and (kind or name in {e.name for e in graph.input}):
                raise InputError(
                    f'{path}: "{name[:60]}" has elements of the unknown type {kind}: a damaged '
                    "file, or one for a newer ONNX: fetch or export it again"
                )


def _validate(model: onnx.ModelProto, path: Path) -> None:
    light = skeleton(model)
    # ONNX asks for a shape there, ONNX Runtime does not, and exporters leave it out.
    shaped = [entry for entry in light.graph.output if entry.type.tensor_type.HasField("shape")]
    del light.graph.output[:]
    light.graph.output.extend(shaped)
    try:
        onnx.checker.check_model(light)
    except Exception as error:  # onnx raises ValidationError, and C++ errors of other kinds
        raise InputError(f"{path}: not a valid ONNX model: {_short(error)}") from None


def _inferred(model: onnx.ModelProto, path: Path) -> list[onnx.ValueInfoProto]:
    """The outputs, with shapes inferred from the inputs' shapes."""
    # Stored shapes with free sizes would contradict the shapes inferred with `dims`.
    light = skeleton(model)
    del light.graph.value_info[:]
    for entry in light.graph.output:
        for dim in entry.type.tensor_type.shape.dim:
            if dim.dim_param or dim.dim_value < 0:
                dim.Clear()
    try:
        inferred = onnx.shape_inference.infer_shapes(light, strict_mode=True, data_prop=True)
    except Exception as error:  # InferenceError, and C++ errors of other kinds
        raise InputError(f"{path}: its shapes contradict each other: {_short(error)}") from None
    return list(inferred.graph.output)


def _short(error: Exception) -> str:
    """A library's error in one line that leaves room for the file's name."""
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:157]}..."


def _tensor(entry: onnx.ValueInfoProto, path: Path, what: str) -> Tensor:
    if not entry.type.HasField("tensor_type"):
        kind = (entry.type.WhichOneof("value") or "value of unknown type").removesuffix("_type")
        raise InputError(
            f'{path}: {what} "{entry.name}" is a {kind}, not a tensor: export the model with '
            f"tensors as {what}s"
        )
    kind = entry.type.tensor_type
    if kind.elem_type not in _ELEMENTS:
        dtype = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise InputError(
            f'{path}: {what} "{entry.name}" has elements of type {dtype}, which no compiled model '
            f"takes or gives: export the model with float32, float16, integers or bool"
        )
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
