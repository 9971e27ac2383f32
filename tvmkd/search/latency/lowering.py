"""The kernels that a network becomes on a target: exported, lowered, remembered by structure."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from tvmkd.base import stack_registry
from tvmkd.search.latency import thin_files
from tvmkd.search.latency.prediction import Kernel

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.export.check import ModelInfo
    from tvmkd.targets import Target

SMALL = 64
"""Elements up to which a constant may decide the kernels: sizes, axes, scales."""


class Lowering:
    """Lowers networks in one warm worker. Use as a context manager.

    Args:
        target: what to compile for.
        stack: the compiler stack.
        dims: sizes of free dimensions of ONNX files; those that `file` makes have none.
        python: the interpreter of the stack; None: the one that was installed.

    Attributes:
        client: of the worker.
        folder: of the files that `file` makes, until `close`.
        assumptions: what was assumed of free dimensions without a size, a line for each.
    """

    def __init__(
        self,
        target: Target,
        stack: str = stack_registry.DEFAULT,
        dims: dict[str, int] | None = None,
        python: Path | None = None,
    ) -> None:
        from tvmkd.stacks.client import StackClient

        self._target, self._dims = target, dims
        self.client = StackClient(stack, python)
        self.assumptions: list[str] = []
        self._known: dict[str, list[Kernel]] = {}
        self._files: dict[str, Path] = {}
        self._kept: set[str] = set()
        self._temporary = tempfile.TemporaryDirectory(prefix="tvmkd-lowering-")
        self.folder = Path(self._temporary.name)
        self._count = 0

    def __enter__(self) -> Lowering:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker."""
        self.client.close()
        self._temporary.cleanup()

    def file(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> Path:
        """The ONNX file of a network; its weights are random if it was a module.

        Raises:
            InputError: the module cannot be exported.
        """
        if isinstance(model, Path):
            return model
        from tvmkd.search.latency import skeleton

        if shape is None:
            raise ValueError("a module needs the shape of its input")
        self._count += 1
        return skeleton.write(model, shape, self.folder / f"{self._count}.onnx")

    @contextlib.contextmanager
    def admitted(self, *onnx_files: Path) -> Iterator[list[ModelInfo]]:
        """The facts of files, normalised for the compiler while the block runs.

        Raises:
            InputError: a file cannot be used.
        """
        from tvmkd.export.door import admit

        with contextlib.ExitStack() as opened:
            found = []
            for onnx_file in onnx_files:
                folder = opened.enter_context(tempfile.TemporaryDirectory(dir=self.folder))
                found.append(admit(onnx_file, self._sizes(onnx_file), Path(folder)))
            said = [line for info in found for line in info.assumptions]
            self.assumptions = list(dict.fromkeys([*self.assumptions, *said]))
            yield found

    def _sizes(self, onnx_file: Path) -> dict[str, int] | None:
        return None if onnx_file.is_relative_to(self.folder) else self._dims

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        """The kernels of a network; two of the same structure are lowered once.

        Raises:
            InputError: it cannot be exported or compiled.
        """
        path = self.file(model, shape)
        try:
            return self._kernels(path)
        finally:
            if path is not model:
                self.forget(path)

    def _kernels(self, path: Path) -> list[Kernel]:
        key = structure(path)
        if key not in self._known:
            with self.admitted(path) as (info,):
                found = self.client.lower(
                    info, self._target.to_dict(), self._sizes(path), features=True
                )
            self._known[key] = [_kernel(task) for task in found["tasks"]]
            keys = {kernel.key for kernel in self._known[key]}
            if not keys <= self._kept:  # a file for each kernel is enough
                self._kept |= keys
                self._files[key] = path
                if self._made(path):
                    thin_files.thin(path)
        return self._known[key]

    def forget(self, path: Path) -> None:
        """Removes a file that `file` made, unless `files` needs it."""
        if path not in self._files.values():
            path.unlink(missing_ok=True)

    def files(self, keys: Iterable[str]) -> list[Path]:
        """A few of the files lowered so far, which have all these kernels between them.

        They are there until the next call.

        Raises:
            ValueError: a kernel is in none of them.
        """
        missing, found = set(keys), list[Path]()
        kernels = {
            name: {k.key for k in known}
            for name, known in self._known.items()
            if name in self._files
        }
        while missing:
            name = max(kernels, key=lambda name: len(kernels[name] & missing), default="")
            if not name or not kernels[name] & missing:
                raise ValueError(f"no network lowered so far has {min(missing)}")
            missing -= kernels[name]
            found.append(self._files[name])
        wanted = {path: self.folder / f"whole-{path.name}" for path in found if self._made(path)}
        for path in set(self.folder.glob("whole-*")) - set(wanted.values()):
            path.unlink()
        for path, place in wanted.items():
            if not place.exists():
                thin_files.whole(path, place)
        return [wanted.get(path, path) for path in found]

    def _made(self, path: Path) -> bool:
        """Whether `file` made a file."""
        return path.parent == self.folder

    def build(self, onnx_file: Path, records: Sequence[Path], out: Path) -> None:
        """Builds an artifact with the best of these records, without a check of its outputs.

        Tuning has compared each new best kernel with plain loops.

        Raises:
            InputError: the network cannot be compiled.
        """
        with self.admitted(onnx_file) as (model,):
            self.client.build(
                model,
                self._target.to_dict(),
                list(records),
                out,
                check=False,
                dims=self._sizes(onnx_file),
            )


def _kernel(task: dict[str, Any]) -> Kernel:
    return Kernel(
        task["key"],
        task["name"],
        task["kind"],
        int(task["weight"]),
        float(task["flop"]),
        {name: float(value) for name, value in task.get("features", {}).items()},
    )


def structure(path: Path) -> str:
    """A hash of a file's graph without the values of its weights.

    Small constants count, since sizes and axes are among them. Files with equal hashes have equal
    kernels, unless a weight of more than `SMALL` elements is special (all zero, say).

    Raises:
        InputError: it is no ONNX file.
    """
    from tvmkd.base.errors import InputError

    try:
        model = onnx.load(os.fspath(path), load_external_data=False)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except Exception as error:  # protobuf's own, of several classes
        raise InputError(f"{path}: not an ONNX file ({type(error).__name__})") from None
    digest = hashlib.sha256()
    tensors = list(model.graph.initializer)
    for tensor in tensors:
        digest.update(f"{tensor.name} {tensor.data_type} {list(tensor.dims)}\0".encode())
        count = 1
        for size in tensor.dims:
            count *= size
        if count <= SMALL:
            digest.update(tensor.SerializeToString(deterministic=True))
    del model.graph.initializer[:]
    model.ClearField("metadata_props")
    digest.update(model.SerializeToString(deterministic=True))
    return digest.hexdigest()
