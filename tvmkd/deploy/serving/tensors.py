"""Inputs and outputs as the Open Inference Protocol names them, and their places in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tvmkd.base.errors import InputError
from tvmkd.base.manifest import TensorSpec
from tvmkd.deploy.serving.faults import RequestFault, invalid

DATATYPES = {
    "BOOL": ("bool", 1),
    "UINT8": ("uint8", 1),
    "UINT16": ("uint16", 2),
    "UINT32": ("uint32", 4),
    "UINT64": ("uint64", 8),
    "INT8": ("int8", 1),
    "INT16": ("int16", 2),
    "INT32": ("int32", 4),
    "INT64": ("int64", 8),
    "FP16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "FP32": ("float32", 4),
    "FP64": ("float64", 8),
}
"""The protocol's data types: numpy's name, bytes of an element."""
NAMES = {dtype: name for name, (dtype, _) in DATATYPES.items()}
WITHOUT_JSON = frozenset({"FP16", "BF16"})
"""The protocol has no form of these in JSON."""
MOST_RANK = 16
ALIGNMENT = 64


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a model.

    Attributes:
        name: as in the ONNX file.
        datatype: the protocol's, such as ``FP32``.
        dtype: numpy's, such as ``float32``.
        shape: sizes; a string is the name of a free dimension.
        itemsize: bytes of an element.
    """

    name: str
    datatype: str
    dtype: str
    shape: tuple[int | str, ...]
    itemsize: int

    @property
    def fixed(self) -> bool:
        """True if there is no free dimension."""
        return not any(isinstance(size, str) for size in self.shape)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as numbers; -1 for a free dimension, as in the protocol's metadata."""
        return tuple(-1 if isinstance(size, str) else size for size in self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a tensor without free dimensions."""
        return math.prod(self.sizes) * self.itemsize

    def metadata(self) -> dict[str, object]:
        """As the protocol describes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.sizes)}

    def check(self, datatype: object, shape: object, free: dict[str, int]) -> tuple[int, ...]:
        """Checks what a request says of an input; returns its shape.

        Args:
            datatype: the request's.
            shape: the request's.
            free: sizes of free dimensions that other inputs have; sizes found here are added.

        Raises:
            RequestFault: it does not fit.
        """
        if datatype != self.datatype:
            raise invalid(f"input {self.name!r}: the datatype is {self.datatype}, not {datatype!r}")
        if not isinstance(shape, (list, tuple)) or not all(
            type(size) is int and 0 <= size < 2**63 for size in shape
        ):
            raise invalid(f"input {self.name!r}: the shape has to be a list of sizes")
        fits = len(shape) == len(self.shape) and all(
            (free.setdefault(want, size) if isinstance(want, str) else want) == size
            for want, size in zip(self.shape, shape, strict=True)
        )
        if not fits:
            raise invalid(
                f"input {self.name!r}: the shape is {list(self.sizes)}, not {list(shape[:16])}"
            )
        return tuple(shape)


def tensors(specs: Sequence[TensorSpec], where: str) -> tuple[Tensor, ...]:
    """The inputs or outputs of a manifest.

    Raises:
        InputError: one has a type that the protocol does not have, or too many dimensions.
    """
    found = []
    for spec in specs:
        if spec.dtype not in NAMES:
            raise InputError(
                f"{where}: {spec.name!r} is {spec.dtype}, which the Open Inference Protocol does "
                "not have; convert it inside the model"
            )
        if len(spec.shape) > MOST_RANK:
            raise InputError(f"{where}: {spec.name!r} has more than {MOST_RANK} dimensions")
        datatype = NAMES[spec.dtype]
        itemsize = DATATYPES[datatype][1]
        found.append(Tensor(spec.name, datatype, spec.dtype, tuple(spec.shape), itemsize))
    return tuple(found)


@dataclass(frozen=True)
class Layout:
    """Where the tensors of one call are in the memory that an instance shares with the server.

    Attributes:
        inputs, outputs: the model's.
        input_offsets: bytes from the start; multiples of `ALIGNMENT`. With free dimensions only
            the first is valid: the others follow where the one before them ends.
        output_offsets: likewise.
        output_end: where outputs must end.
        size: bytes of the whole.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    input_offsets: tuple[int, ...]
    output_offsets: tuple[int, ...]
    dims_offset: int
    output_start: int
    output_end: int
    size: int

    @property
    def fixed(self) -> bool:
        """True if no tensor has a free dimension."""
        return all(tensor.fixed for tensor in (*self.inputs, *self.outputs))

    @classmethod
    def of(
        cls, inputs: Sequence[Tensor], outputs: Sequence[Tensor], head: int, most: int
    ) -> Layout:
        """Places tensors.

        Args:
            inputs, outputs: the model's.
            head: bytes that are taken at the start.
            most: bytes for all inputs, and for all outputs, if one has a free dimension.
        """
        dims = head
        count = len(inputs) + len(outputs)
        start = _aligned(dims + count * 8 * MOST_RANK)
        places, end = _placed(inputs, start, most)
        output_start = _aligned(end)
        output_places, output_end = _placed(outputs, output_start, most)
        size = -(-output_end // 4096) * 4096
        return cls(
            tuple(inputs),
            tuple(outputs),
            places,
            output_places,
            dims,
            output_start,
            output_end,
            size,
        )


def _placed(tensors: Sequence[Tensor], start: int, most: int) -> tuple[tuple[int, ...], int]:
    if not all(tensor.fixed for tensor in tensors):
        return (start,) * len(tensors), start + most + ALIGNMENT * len(tensors)
    places = []
    for tensor in tensors:
        places.append(start)
        start = _aligned(start + tensor.nbytes)
    return tuple(places), start


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def places_of(nbytes: Sequence[int], start: int, end: int) -> list[int]:
    """Places of tensors of these sizes, one after the other.

    Raises:
        RequestFault: they do not fit in.
    """
    places = []
    for count in nbytes:
        places.append(start)
        start = _aligned(start + count)
        if places[-1] + count > end:
            raise RequestFault("too_large", "the tensors are larger than --max-body allows")
    return places


def by_name(tensors: Sequence[Tensor]) -> Mapping[str, int]:
    """The position of each tensor."""
    return {tensor.name: number for number, tensor in enumerate(tensors)}
