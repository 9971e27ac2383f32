"""Artifacts: folders with ``model.so`` and a ``manifest.json`` that describes it.

`write` makes an artifact in one step, `read` verifies one, `load` makes one callable with numpy
arrays.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tvmkd.base.errors import InputError, UsageError, full_disk, unwritable
from tvmkd.base.files import check_output, read_text, sha256, sync
from tvmkd.base.folders import draft_folder
from tvmkd.base.manifest import SCHEMA_VERSION, FileEntry, Manifest
from tvmkd.base.runtimes import TVM
from tvmkd.base.text import listing, sizes, suggest
from tvmkd.base.version import __version__
from tvmkd.runtime import device_arrays, programs
from tvmkd.runtime.library_copy import library_copy
from tvmkd.runtime.program import LoadError
from tvmkd.runtime.standalone_frames import FrameResults, FrameRunner
from tvmkd.runtime.standalone_program import NO_DEADLINE, StandaloneProgram
from tvmkd.targets import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tvmkd.runtime.program import Program

    Array = NDArray[np.generic]

MANIFEST = "manifest.json"
NORMALISED = "normalised.onnx"


def check_destination(folder: Path) -> None:
    """Makes sure that `write` may write to ``folder``; call it before any long work.

    Raises:
        InputError: the path exists, and is neither an artifact nor an empty folder; or it cannot be
            written.
    """
    try:
        ours = not folder.is_dir() or _is_artifact(folder) or not any(folder.iterdir())
        if not ours or (folder.exists() and not folder.is_dir()):
            raise InputError(
                f"{folder}: exists and is not an artifact of tvmkd, so it is not overwritten; "
                "give another output folder"
            )
    except OSError as error:
        raise unwritable(error, folder) from None
    check_output(folder, folder=True, replaced=True)


def _is_artifact(folder: Path) -> bool:
    # A folder with a damaged manifest is still an artifact if the library is in it.
    return (folder / MANIFEST).is_file() and any(folder.glob("*.so"))


def write(folder: Path, files: Mapping[str, Path], **fields: Any) -> Manifest:
    """Writes an artifact in one step: a reader never sees half of it.

    Args:
        folder: the artifact's path; an older artifact there is replaced.
        files: the file to copy for each name in the artifact; a library (``.so``) is required.
        fields: the fields of `Manifest`, except ``schema_version``, ``created``,
            ``tvmkd_version`` and ``files``.

    Raises:
        InputError: ``folder`` exists and is not an artifact, or it cannot be written. Then no
            temporary file remains, and an older artifact stays.
    """
    if not any(name.endswith(".so") for name in files):
        raise ValueError("an artifact needs a library")
    check_destination(folder)
    try:
        with draft_folder(folder) as new:
            entries = {}
            for name, source in files.items():
                place = new / name
                shutil.copyfile(source, place)
                shutil.copymode(source, place)
                entries[name] = FileEntry(sha256=sha256(place), size=place.stat().st_size)
            manifest = Manifest(
                created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                tvmkd_version=__version__,
                files=entries,
                **fields,
            )
            place = new / MANIFEST
            place.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            sync(place)
        return manifest
    except OSError as error:
        raise full_disk(error, folder) or InputError(
            f"{folder}: cannot be written: {error}"
        ) from None


def read(folder: Path, verify: bool = True) -> Manifest:
    """Reads an artifact's manifest.

    Args:
        folder: the artifact.
        verify: also check every file's size and SHA-256.

    Raises:
        InputError: ``folder`` is no artifact, the manifest is damaged or of another schema, or a
            file is missing or was changed.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder}: not an artifact (no {MANIFEST}); make one with tvmkd build"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}; build the artifact again") from None
    manifest = _parse(text, path)
    if verify:
        for name, entry in manifest.files.items():
            _verify(folder / name, entry)
    return manifest


def read_with_library(folder: Path) -> tuple[Manifest, Path]:
    """As `read`, with a path to load the artifact's library from: see `library_copy`.

    The two belong together, also where the artifact is replaced meanwhile.

    Raises:
        InputError: as `read`, or no copy can be made and another library was loaded from there.
    """
    for last in (False, False, True):
        manifest = read(folder, verify=False)
        try:
            return manifest, _verified(folder, manifest)
        except InputError:
            if last or read(folder, verify=False) == manifest:
                raise
    raise AssertionError("the last turn returns or raises")


def _verified(folder: Path, manifest: Manifest) -> Path:
    for name, entry in manifest.files.items():
        if name != manifest.library:
            _verify(folder / name, entry)
    library, entry = folder / manifest.library, manifest.files[manifest.library]
    try:
        copy, digest = library_copy(library)
    except OSError:
        _verify(library, entry)  # says what is missing
        raise InputError(f"{library}: cannot be read") from None
    if digest != entry.sha256:
        _verify(library, entry)
        raise InputError(f"{library}: was replaced while it was read; load it again")
    return copy


def _parse(text: str, path: Path) -> Manifest:
    import json

    try:
        data = json.loads(text)
        version = data["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: the manifest is corrupt; build the artifact again") from None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: has schema {version!r} and this tvmkd {__version__} reads schema "
            f"{SCHEMA_VERSION}; build the artifact again or install the tvmkd that made it"
        )
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: the manifest is corrupt ({where}: {first['msg'].lower()}); "
            "build the artifact again"
        ) from None
    for name in [manifest.library, *manifest.files]:
        if name not in manifest.files or Path(name).name != name:
            raise InputError(f"{path}: the manifest is corrupt (files: {name!r}); build it again")
    return manifest


def _verify(path: Path, entry: FileEntry) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        raise InputError(f"{path}: is missing; build the artifact again") from None
    if size != entry.size:
        raise InputError(
            f"{path}: has {size} bytes, and {entry.size} in the manifest: it was changed or cut "
            "short; build the artifact again or copy it again"
        )
    if sha256(path) != entry.sha256:
        raise InputError(
            f"{path}: does not have the SHA-256 in the manifest: it was changed; "
            "build the artifact again or copy it again"
        )


def check_machine(manifest: Manifest, folder: Path) -> None:
    """Makes sure that the artifact can run on this machine.

    Raises:
        InputError: the architecture is another one, or required CPU features are missing.
    """
    target = Target.from_dict(manifest.target, where=f"{folder / MANIFEST}: target")
    reason = target.runs_here(manifest.runtime)
    if reason is not None:
        raise InputError(
            f"{folder}: cannot run here: {reason}; build it for a target that fits "
            "(tvmkd targets lists them)"
        )


def require_tvm(manifest: Manifest, folder: Path, what: str) -> None:
    """Makes sure that TVM's runtime runs the artifact.

    Args:
        what: is to be done with it, for the message.

    Raises:
        InputError: it is a standalone one.
    """
    if manifest.runtime != TVM:
        raise InputError(
            f"{folder}: is a {manifest.runtime} artifact, and {what} needs TVM's runtime: give one "
            f"that was built without --runtime {manifest.runtime}; its kernels are the same"
        )


class Artifact:
    """A compiled model that is ready to run; made by `load`.

    Not thread-safe: calls share the executor and the input buffers. Load the artifact once for each
    thread; the pages of its code are shared anyway. It keeps working where its folder is rebuilt or
    removed.

    Attributes:
        manifest: the artifact's manifest.
        path: its folder.
    """

    def __init__(self, manifest: Manifest, path: Path, program: Program) -> None:
        self.manifest = manifest
        self.path = path
        self._program = program
        self._names = [spec.name for spec in manifest.inputs]
        self._frames: FrameRunner | None = None

    def __repr__(self) -> str:
        return f"<tvmkd.Artifact {self.manifest.name} for {self.manifest.target['name']}>"

    def __call__(self, *arrays: Array, **by_name: Array) -> Array | tuple[Array, ...]:
        """Runs the model once.

        Args:
            arrays: one array for each input, in the manifest's order; or
            by_name: one array for each input, by its name.

        Returns:
            The output; a tuple if the model has several. A standalone library for a GPU takes
            tensors of torch and arrays of CuPy that are there, too: then the outputs are of the
            same library, in the stream that it works in now (see `enqueue`).

        Raises:
            InputError: a wrong number of inputs, an unknown name, a wrong shape or dtype.
        """
        if arrays and by_name:
            raise InputError(f"{self._who()}: give the inputs in order or by name, not both")
        outputs = self.run(self._ordered(by_name) if by_name else list(arrays))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Runs the model on one array for each input, in order; returns the list of outputs.

        Raises:
            InputError: a wrong number of inputs, a wrong shape or dtype.
        """
        fit = self._program.takes(arrays)
        if not fit:
            if arrays and all(map(device_arrays.on_gpu, arrays)):
                return self._run_there(arrays)
            self._check(arrays)
        return self._program.run(arrays, fit)

    def _run_there(self, arrays: Sequence[Any]) -> list[Any]:
        library = device_arrays.library_of(arrays[0])
        program = self._standalone()
        outputs = [library.empty(arrays[0], *spec) for spec in program.outputs]
        self.enqueue(arrays, outputs, library.stream(arrays[0]))
        return outputs

    def enqueue(self, inputs: Sequence[Any], outputs: Sequence[Any], stream: int = 0) -> None:
        """Puts a run on arrays in the GPU's memory into a stream, and returns before it is done.

        Nothing is copied to or from the CPU. Work that ``stream`` has now comes first. Keep all
        arrays until the stream has done this; a stream that is being captured is refused.

        Args:
            inputs: DLPack arrays on the GPU (of torch, CuPy and others), one for each input;
                contiguous.
            outputs: likewise; they are written.
            stream: a ``cudaStream_t`` as a number, such as
                ``torch.cuda.current_stream().cuda_stream``; 0: the default stream.

        Raises:
            InputError: an array is not on the GPU that the artifact runs on, or does not fit.
            UsageError: the artifact is no standalone library for a GPU.
            TvmkdError: the driver refused.
        """
        program, who = self._standalone(), self._who()
        given = device_arrays.addresses(f"{who}: input", self.manifest.inputs, inputs, stream)
        made = device_arrays.addresses(f"{who}: output", self.manifest.outputs, outputs, stream)
        program.enqueue(given, made, stream)

    def gpu_bytes(self) -> int:
        """The GPU's memory that a standalone library holds: weights and buffers, in bytes.

        Raises:
            UsageError: the artifact is no standalone library.
        """
        return self._standalone().bytes_held

    def run_until(
        self, arrays: Sequence[Array], deadline_ns: int | None = None
    ) -> tuple[list[Array], int]:
        """Runs the model to an exit: see ``run_until`` in ``tvmkd.h``.

        Args:
            arrays: as for `run`.
            deadline_ns: a time of ``time.monotonic_ns``; None: no deadline.

        Returns:
            the outputs, and the number of the exit from 0; a model without early exits has one.

        Raises:
            InputError: a wrong number of inputs, a wrong shape or dtype.
            UsageError: the artifact is no standalone library.
            Late: even the first exit would be late.
        """
        program = self._standalone_for(arrays)
        return program.run_until(arrays, NO_DEADLINE if deadline_ns is None else deadline_ns)

    def run_exit(self, arrays: Sequence[Array], index: int) -> list[Array]:
        """Runs the model to an exit, from 0, whatever its confidence; returns the outputs.

        Raises:
            InputError: a wrong number of inputs, a wrong shape or dtype.
            UsageError: the artifact is no standalone library, or has no such exit.
        """
        program = self._standalone_for(arrays)
        if not 0 <= index < program.exits:
            raise UsageError(f"{self._who()}: there is no exit {index}: it has {program.exits}")
        return program.run_exit(arrays, index)

    def _standalone(self) -> StandaloneProgram:
        if not isinstance(self._program, StandaloneProgram):
            raise UsageError(
                f"{self._who()}: exits, deadlines and arrays on a GPU need a standalone library; "
                "build it with --runtime standalone"
            )
        return self._program

    def _standalone_for(self, arrays: Sequence[Array]) -> StandaloneProgram:
        program = self._standalone()
        if not program.takes(arrays):
            self._check(arrays)
        return program

    def run_frame(
        self, frame: NDArray[np.uint8], order: str = "RGB", **settings: Any
    ) -> FrameResults:
        """Runs the model on a camera's frame: pre-processing, network, boxes or classes.

        Args:
            frame: uint8 ``[H, W, C]``; rows may have any stride.
            order: of a pixel's bytes: ``RGB``, ``BGR``, ``RGBX``, ``BGRX`` or ``gray``.
            settings: ``threshold``, ``overlap`` and ``room`` of
                `tvmkd.runtime.standalone_frames.FrameRunner`.

        Raises:
            InputError: the artifact was built without pre-processing, or the frame does not fit.
        """
        if self._frames is None:
            if not self.manifest.frames or not isinstance(self._program, StandaloneProgram):
                raise InputError(
                    f"{self._who()}: takes no frames; build it with --runtime standalone "
                    "--with-preprocessing"
                )
            self._frames = FrameRunner(self._program)
        return self._frames(frame, order, **settings)

    def _who(self) -> str:
        return f"artifact {self.manifest.name}"

    def _ordered(self, by_name: Mapping[str, Array]) -> list[Array]:
        for name in by_name:
            if name not in self._names:
                raise InputError(
                    f'{self._who()}: there is no input "{name}"{suggest(name, self._names)} '
                    f"(inputs: {listing(self._names)})"
                )
        missing = [name for name in self._names if name not in by_name]
        if missing:
            raise InputError(f"{self._who()}: these inputs are missing: {listing(missing)}")
        return [by_name[name] for name in self._names]

    def _check(self, arrays: Sequence[Array]) -> None:
        specs = self.manifest.inputs
        if len(arrays) != len(specs):
            raise InputError(
                f"{self._who()}: has {len(specs)} inputs ({listing(self._names)}), "
                f"got {len(arrays)}"
            )
        free: dict[str, int] = {}
        for spec, array in zip(specs, arrays, strict=True):
            shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
            where = f'{self._who()}: input "{spec.name}"'
            if device_arrays.on_gpu(array):
                raise InputError(
                    f"{where}: is on the GPU; give numpy arrays, or all inputs on the GPU to a "
                    "call of the model"
                )
            if shape is None or dtype is None or not hasattr(array, "astype"):
                raise InputError(f"{where}: expects a numpy array, got {type(array).__name__}")
            if str(dtype) != spec.dtype:
                raise InputError(
                    f"{where}: expects dtype {spec.dtype}, got {dtype}; "
                    f'convert it with .astype("{spec.dtype}")'
                )
            fits = len(shape) == len(spec.shape) and all(
                (free.setdefault(want, size) if isinstance(want, str) else want) == size
                for want, size in zip(spec.shape, shape, strict=True)
            )
            if not fits:
                raise InputError(f"{where}: expects shape {sizes(spec.shape)}, got {sizes(shape)}")


def load(path: str | Path) -> Artifact:
    """Verifies the artifact at ``path`` and loads it into this process.

    An artifact of the relay stack runs in a subprocess if this interpreter's TVM has no Relay; that
    adds about a millisecond to each call.

    What lies there now is what runs, also if this process has loaded an older artifact from the
    same path: the library is loaded from a copy in a temporary folder (``TMPDIR``).

    TVM chooses the number of threads: set ``TVM_NUM_THREADS`` before the first call.

    Raises:
        InputError: ``path`` is no artifact, is damaged or changed, or is for another machine.
        MissingError: the TVM that it needs is not installed.
    """
    folder = Path(path)
    manifest, library = read_with_library(folder)
    check_machine(manifest, folder)
    handed = manifest.coverage.get("byoc") or {}
    if handed.get("regions") and handed.get("codegen") == "tvmkd":
        from tvmkd.byoc import region as byoc

        byoc.check_runs_here(handed["engine"])
    try:
        program = programs.open_program(manifest.stack, library, manifest.inputs, manifest.runtime)
    except LoadError as error:
        raise InputError(
            f"{folder / manifest.library}: {error.tvm} cannot load it (built with {manifest.stack} "
            f"{manifest.stack_version}): {error}; build the artifact again"
        ) from None
    return Artifact(manifest, folder, program)
