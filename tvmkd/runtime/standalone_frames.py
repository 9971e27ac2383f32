"""Runs a standalone library on frames (``tvmkd build --with-preprocessing``)."""

from __future__ import annotations

import ctypes
import math
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.runtime.standalone_program import Late

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tvmkd.runtime.standalone_program import StandaloneProgram

ORDERS = {"RGB": (0, 3), "BGR": (1, 3), "RGBX": (2, 4), "BGRX": (3, 4), "gray": (4, 1)}
"""Of each order of a pixel's bytes: ``tvmkd_order``, and how many bytes."""
TENSORS, CLASSIFY, DETECT = 0, 1, 2
"""``tvmkd_task``."""
_ERRORS: dict[int, type[TvmkdError]] = {1: InputError, 5: Late}  # by tvmkd_status


class Frame(ctypes.Structure):
    """``tvmkd_frame`` of ``tvmkd.h``."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("pixels", ctypes.c_void_p),
        ("stride", ctypes.c_ssize_t),
        ("deadline_ns", ctypes.c_int64),
    ]


class Results(ctypes.Structure):
    """``tvmkd_results`` of ``tvmkd.h``."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("room", ctypes.c_int32),
        ("found", ctypes.c_void_p),
        ("threshold", ctypes.c_double),
        ("overlap", ctypes.c_double),
        ("count", ctypes.c_int32),
        ("total", ctypes.c_int32),
        ("exit_taken", ctypes.c_int32),
        ("prepare_ns", ctypes.c_int64),
        ("model_ns", ctypes.c_int64),
        ("decode_ns", ctypes.c_int64),
        ("suppress_ns", ctypes.c_int64),
    ]


class Frames(ctypes.Structure):
    """``tvmkd_frames`` of ``tvmkd.h``."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("task", ctypes.c_int32),
        ("max_width", ctypes.c_int32),
        ("max_height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("shorter", ctypes.c_int32),
        ("subtract", ctypes.POINTER(ctypes.c_float)),
        ("divide", ctypes.POINTER(ctypes.c_float)),
        ("classes", ctypes.POINTER(ctypes.c_char_p)),
        ("class_count", ctypes.c_int32),
        ("max_results", ctypes.c_int32),
        ("threshold", ctypes.c_double),
        ("overlap", ctypes.c_double),
    ]


_run_frame = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(Frame),
    ctypes.c_void_p,
    ctypes.POINTER(Results),
)


@dataclass(frozen=True, eq=False)
class FrameResults:
    """What a frame shows, best first.

    Attributes:
        boxes: float32 ``[n, 4]``, ``x1, y1, x2, y2`` in pixels of the frame; of a classifier the
            part that it saw.
        scores: float32 ``[n]``, 0 to 1.
        labels: int64 ``[n]``, from 0: of a detector one less than those of `tvmkd.detection`.
        total: as many results there are; more than n if there was no room.
        exit_taken: number of the exit, from 0.
        times: nanoseconds of ``prepare``, ``model``, ``decode`` and ``suppress``.
        outputs: of a network that is no detector and no classifier, in order; otherwise none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    total: int
    exit_taken: int
    times: dict[str, int]
    outputs: list[NDArray[Any]]

    def __len__(self) -> int:
        return len(self.scores)


class FrameRunner:
    """Runs a program's library on frames.

    Args:
        program: the program; not to be used from another thread meanwhile.

    Attributes:
        about: what the library does with frames.
        classes: names of the classes; empty if unknown.

    Raises:
        InputError: the library has no pre-processing.
    """

    def __init__(self, program: StandaloneProgram) -> None:
        import numpy as np

        library, self._instance = program.instance
        if not library.has("frames"):
            raise InputError(
                "this library takes no frames: build it with --runtime standalone "
                "--with-preprocessing"
            )
        self._library = library
        self._program = program  # holds the instance
        self.about = Frames.from_address(library.frames)
        self._run = _run_frame(library.run_frame)
        names = self.about.classes[: self.about.class_count] if self.about.classes else []
        self.classes = tuple(name.decode() for name in names)
        self._row = np.dtype([("box", "<f4", 4), ("score", "<f4"), ("label", "<i4")])
        self._specs = [
            (tuple(each.shape[: each.ndim]), np.dtype(each.dtype.decode()))
            for each in library.outputs[: library.output_count]
            if self.about.task == TENSORS
        ]

    def __call__(
        self,
        frame: NDArray[np.uint8],
        order: str = "RGB",
        *,
        threshold: float | None = None,
        overlap: float | None = None,
        room: int | None = None,
        deadline_ns: int | None = None,
    ) -> FrameResults:
        """Runs the model on one frame.

        Args:
            frame: uint8 ``[H, W, C]``, or ``[H, W]`` if ``order`` is ``gray``; rows may have any
                stride.
            order: one of `ORDERS`.
            threshold: results have a score above it; None: the library's.
            overlap: of suppression; None: the library's.
            room: the most results; None: all.
            deadline_ns: a time of ``time.monotonic_ns``, for early exits: see ``run_until`` in
                ``tvmkd.h``; None: none.

        Raises:
            Late: even the first exit would be late.
            InputError: the frame or an argument cannot be used.
            TvmkdError: the model failed.
        """
        import numpy as np

        given = self._frame(frame, order)
        if deadline_ns is not None:
            given.deadline_ns = max(1, _whole("deadline_ns", deadline_ns))
        count = self.about.max_results if room is None else _whole("room", room)
        rows = np.empty(max(0, count), self._row)
        results = Results(
            ctypes.sizeof(Results),
            count,
            rows.ctypes.data if count > 0 else None,
            _number("threshold", threshold, self.about.threshold),
            _number("overlap", overlap, self.about.overlap),
        )
        outputs = [np.empty(shape, dtype) for shape, dtype in self._specs]
        places = (ctypes.c_void_p * len(outputs))(*(each.ctypes.data for each in outputs))
        status = self._run(
            self._instance,
            ctypes.byref(given),
            ctypes.addressof(places) if outputs else None,
            ctypes.byref(results),
        )
        if status:
            reason = self._library.last_error(self._instance).decode()
            raise _ERRORS.get(status, TvmkdError)(reason)
        rows = rows[: results.count]
        steps = ("prepare", "model", "decode", "suppress")
        return FrameResults(
            np.ascontiguousarray(rows["box"]),
            np.ascontiguousarray(rows["score"]),
            rows["label"].astype(np.int64),
            results.total,
            results.exit_taken,
            {step: getattr(results, f"{step}_ns") for step in steps},
            outputs,
        )

    def _frame(self, frame: NDArray[np.uint8], order: str) -> Frame:
        import numpy as np

        if not isinstance(order, str) or order not in ORDERS:
            raise InputError(f'there is no order "{order}" of a pixel: {", ".join(ORDERS)}')
        number, channels = ORDERS[order]
        shape: tuple[int, ...] = getattr(frame, "shape", ())
        got = list(shape)
        if len(shape) == 2:
            shape = (*shape, 1)
        if getattr(frame, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != channels:
            kind = getattr(frame, "dtype", type(frame).__name__)
            raise InputError(
                f"a frame in {order} is a uint8 array [height, width, {channels}], got {kind} {got}"
            )
        pixels = frame.reshape(shape) if frame.ndim == 2 else frame
        if pixels.strides[1:] != (channels, 1):
            pixels = np.ascontiguousarray(pixels)
        self._kept = pixels
        stride = pixels.strides[0] if shape[0] > 1 else 0
        return Frame(ctypes.sizeof(Frame), shape[1], shape[0], number, pixels.ctypes.data, stride)


def _whole(name: str, given: object) -> int:
    if not isinstance(given, numbers.Integral):
        raise InputError(f"{name} must be a whole number, got {given!r}")
    return int(given)


def _number(name: str, given: object, usual: float) -> float:
    """A number as the library reads it: there, 0 stands for the usual one."""
    if given is None:
        return usual
    if not isinstance(given, numbers.Real) or math.isnan(value := float(given)):
        raise InputError(f"{name} must be a number, got {given!r}")
    return value if value > 0 else -1.0
