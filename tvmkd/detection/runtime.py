"""Runs a detector: an ONNX file in ONNX Runtime, or a compiled artifact. Does not need torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvmkd import artifact
from tvmkd.base.detector_description import MOST, OVERLAP, THRESHOLD, Description
from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import numpy_dtype, open_session, package
from tvmkd.base.text import first_line, listing
from tvmkd.detection import preprocess
from tvmkd.detection.decode import Detections, decode
from tvmkd.detection.nms import suppress
from tvmkd.detection.preprocess import Picture

OUTPUTS = ("logits", "offsets")

Run = Callable[[NDArray[np.float32]], Sequence[Any]]
Shape = Sequence[int | str | None]
Signature = Mapping[str, tuple[Shape, str]]
"""Of each input or output, in order: its shape (free where no int) and its type."""


class Detector:
    """A loaded detector, see `load`. Not thread-safe.

    Attributes:
        description: the description in the file's metadata.
        runtime: the program that runs the model.
        threshold: boxes with a score above it are kept; at first the one that was calibrated, or
            `THRESHOLD` where none was.
        overlap: a box is removed if a better box of its class overlaps it by more than this
            intersection over union.
    """

    def __init__(
        self,
        where: str,
        runtime: str,
        description: Description,
        inputs: Signature,
        outputs: Signature,
        run: Run,
    ) -> None:
        self.where = where
        self.runtime = runtime
        self.description = description
        self.threshold = description.threshold or THRESHOLD
        self.overlap = OVERLAP
        self._run = run
        side, anchors = description.size, len(description.anchors)
        self._check("input", inputs, {"input": (1, 3, side, side)})
        self._wanted = {"logits": (1, anchors, description.outputs), "offsets": (1, anchors, 4)}
        self._check("output", outputs, self._wanted)
        self._order = [list(outputs).index(name) for name in OUTPUTS]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class map; label 1 is the first."""
        return self.description.classes

    def __call__(self, picture: Picture) -> Detections:
        """Detects objects in a picture: boxes in its pixels, best score first.

        Args:
            picture: a file, or uint8 RGB ``[H, W, 3]``.

        Raises:
            InputError: the picture cannot be read, or the model's outputs do not match its
                description.
        """
        array = preprocess.pixels(picture)
        found = self.suppress(self.decode(*self.infer(self.prepare(array))))
        return self.restore(found, array)

    def prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Step 1: the input ``[1, 3, size, size]`` from ``[H, W, 3]``."""
        return preprocess.prepare(picture, self.description.size)

    def infer(self, values: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Step 2: logits ``[1, A, K]`` and offsets ``[1, A, 4]``.

        Raises:
            InputError: the model cannot be run, or an output has a wrong shape.
        """
        found = self._run(values)
        logits, offsets = (found[place] for place in self._order)
        for name, array in zip(OUTPUTS, (logits, offsets), strict=True):
            if array.shape != self._wanted[name] or array.dtype != np.float32:
                raise self._differs("output", name, array.shape, str(array.dtype), self._wanted)
        return logits, offsets

    def decode(self, logits: NDArray[Any], offsets: NDArray[Any]) -> Detections:
        """Step 3: candidates in pixels of the input.

        Raises:
            InputError: an output is NaN.
        """
        return decode(logits, offsets, self.description, self.threshold)[0]

    def suppress(self, found: Detections) -> Detections:
        """Step 4: non-maximum suppression."""
        kept = suppress(found.boxes, found.scores, found.labels, self.overlap)
        return found.take(kept[:MOST])

    def restore(self, found: Detections, picture: NDArray[np.uint8]) -> Detections:
        """Step 5: the boxes in pixels of the picture ``[H, W, 3]``."""
        height, width = picture.shape[:2]
        boxes = preprocess.restore(found.boxes, self.description.size, width, height)
        return Detections(boxes, found.scores, found.labels)

    def _check(self, kind: str, found: Signature, wanted: Mapping[str, tuple[int, ...]]) -> None:
        if sorted(found) != sorted(wanted):
            raise InputError(
                f"{self.where}: a detector has the {kind}s {listing(wanted)}, this has "
                f"{listing(found)}; export one that tvmkd distill has trained"
            )
        for name, sizes in wanted.items():
            shape, dtype = found[name]
            fits = len(shape) == len(sizes) and all(
                not isinstance(have, int) or have == want
                for have, want in zip(shape, sizes, strict=True)
            )
            if not fits or dtype != "float32":
                raise self._differs(kind, name, shape, dtype, wanted)

    def _differs(
        self,
        kind: str,
        name: str,
        shape: Shape,
        dtype: str,
        wanted: Mapping[str, tuple[int, ...]],
    ) -> InputError:
        return InputError(
            f"{self.where}: its {kind} {name} is {dtype} {' x '.join(map(str, shape))}, and its "
            f"description says float32 {' x '.join(map(str, wanted[name]))}; export it again, with "
            "batch 1"
        )


def load(path: str | Path, threads: int = 0) -> Detector:
    """Loads a detector.

    Args:
        path: an ONNX file, or the folder of an artifact.
        threads: threads of ONNX Runtime, 0 for all cores. TVM reads ``TVM_NUM_THREADS`` instead.

    Raises:
        InputError: the path does not exist, is not a detector, is damaged, has inputs or outputs
            that do not match its description, or is not made for this machine.
        MissingError: the runtime that it needs is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: there is no such ONNX file or artifact")
    return _artifact(path) if path.is_dir() else _onnx(path, threads)


def _artifact(folder: Path) -> Detector:
    about = Description.from_metadata(artifact.read(folder, verify=False).metadata, str(folder))
    model = artifact.load(folder)
    manifest = model.manifest
    inputs, outputs = (
        {spec.name: (spec.shape, spec.dtype) for spec in specs}
        for specs in (manifest.inputs, manifest.outputs)
    )
    runtime = f"TVM ({manifest.stack} {manifest.stack_version})"
    return Detector(
        str(folder), runtime, about, inputs, outputs, lambda values: model.run([values])
    )


def _onnx(path: Path, threads: int) -> Detector:
    session = open_session(path, threads=threads)
    about = Description.from_metadata(session.get_modelmeta().custom_metadata_map, str(path))
    inputs, outputs = (
        {value.name: (value.shape, numpy_dtype(value.type)) for value in values}
        for values in (session.get_inputs(), session.get_outputs())
    )

    def run(values: NDArray[np.float32]) -> Sequence[Any]:
        try:
            found: list[Any] = session.run(None, {"input": values})
        except Exception as error:
            raise InputError(f"{path}: ONNX Runtime cannot run it: {first_line(error)}") from None
        return found

    runtime = f"ONNX Runtime {package().__version__}"
    return Detector(str(path), runtime, about, inputs, outputs, run)
