"""TensorRT inside TVM: what a library carries of a region, and what runs it where it is loaded.

A region, a part of a model that TVM hands over, comes as ONNX and goes through the same builder and
runner as a whole model. A library carries its engine where that can be built beforehand, else its
ONNX, of which the engine is built where it is first loaded. ONNX Runtime can stand in for TensorRT,
so that all of it runs on a machine without a GPU as well.

Nothing here imports TVM: :mod:`tvmkd.byoc.regions` is what it calls this by.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from tvmkd.base import onnx_runtime
from tvmkd.base.errors import InputError
from tvmkd.targets import Target

if TYPE_CHECKING:
    from tvmkd.tensorrt.api import Bindings
    from tvmkd.tensorrt.engine import Engine

ENGINES = {
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
    "onnxruntime": "ONNX Runtime",
}
"""What regions can be handed to, and its name in sentences."""

Form = Literal["onnx", "plan"]
MAGIC = b"TVMKDRG1"


class Refused(Exception):
    """The engine does not take a region; the message says why."""


@dataclass(frozen=True)
class Region:
    """What a library carries of a region.

    Attributes:
        engine: what runs it, of ``ENGINES``.
        form: whether ``blob`` is an ONNX model or an engine's plan.
        inputs, outputs: their names, in the order of the function's arguments.
        batch: smallest, best and largest batch where the first axis is free, else None.
        made: what a plan was built with and for, as :class:`tvmkd.tensorrt.engine.Engine` has it:
            ``product``, ``version``, ``compute_capability``, ``gpu``, ``driver``. Empty for ONNX.
    """

    engine: str
    form: Form
    blob: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch: tuple[int, int, int] | None = None
    made: Mapping[str, str | None] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """A magic number, the length of a JSON header in eight bytes, the header, the blob."""
        header = {key: value for key, value in vars(self).items() if key != "blob"}
        text = json.dumps(header, sort_keys=True).encode()
        return MAGIC + len(text).to_bytes(8, "little") + text + self.blob

    @classmethod
    def from_bytes(cls, data: bytes) -> Region:
        """Reads what `to_bytes` wrote.

        Raises:
            InputError: it did not.
        """
        start = len(MAGIC) + 8
        end = start + int.from_bytes(data[len(MAGIC) : start], "little")
        try:
            if not data.startswith(MAGIC):
                raise ValueError("no region of this tvmkd")
            header = json.loads(data[start:end])
            known = {each.name for each in fields(cls)} - {"blob"}
            if set(header) != known or header["engine"] not in ENGINES:
                raise ValueError("another tvmkd's")
            batch = header["batch"]
            return cls(
                **{
                    **header,
                    "inputs": tuple(header["inputs"]),
                    "outputs": tuple(header["outputs"]),
                    "batch": None if batch is None else tuple(batch),
                },
                blob=data[end:],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"a region in the library cannot be read ({error}); build the artifact again"
            ) from None


class Runner(Protocol):
    """What runs a region: what :class:`tvmkd.tensorrt.runner.Runner` is as well."""

    def infer(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Runs it once, by names."""


class OnnxRuntimeRunner:
    """ONNX Runtime on the CPU as the engine.

    Args:
        model: ONNX, serialised.

    Raises:
        Refused: it does not take the model.
    """

    def __init__(self, model: bytes) -> None:
        # TVM's own kernels read the same variable; without it both use every core.
        threads = int(os.environ.get("TVM_NUM_THREADS") or 0)
        try:
            self._session = onnx_runtime.open_session(model, threads=threads)
        except onnx_runtime.Unloadable as error:
            raise Refused(error.reason) from None
        self._names = [output.name for output in self._session.get_outputs()]

    def infer(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Runs it once, by names."""
        return dict(zip(self._names, self._session.run(None, dict(inputs)), strict=True))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


class Maker:
    """Makes what a library for a target carries of each region.

    Args:
        engine: of ``ENGINES``.
        target: ``Target.to_dict()`` of the library.
        batch: smallest, best and largest batch of models whose first axis is free.

    Raises:
        MissingError: the target is this machine, and the engine's package or a GPU is not there; or
            TensorRT-RTX is not there to build for the target's GPU. Says how to get it.
        InputError: the target has no GPU.
    """

    def __init__(
        self, engine: str, target: Mapping[str, Any], batch: tuple[int, int, int] | None = None
    ) -> None:
        self.engine, self._batch = engine, batch
        self._builds, self._capability = False, None
        if engine == "onnxruntime":
            return
        goal = Target.from_dict(dict(target))
        if goal.runs_here() is None:
            check_runs_here(engine)
            self._builds = True
        elif goal.cuda is None:
            raise InputError(
                f"{goal.name}: has no GPU for {ENGINES[engine]}; take a target that has one, or "
                "--byoc onnxruntime, which runs the regions on the CPU"
            )
        elif engine == "tensorrt-rtx":
            _find(engine)
            digits = goal.cuda.arch.removeprefix("sm_")
            self._builds, self._capability = True, f"{digits[:-1]}.{digits[-1]}"

    @property
    def form(self) -> Form:
        """What it makes. A plan where the engine can be built here for the target's GPU: by
        TensorRT on the very GPU, by TensorRT-RTX for any that the target names."""
        return "plan" if self._builds else "onnx"

    def make(self, model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> Region:
        """What a library carries of the region that ``model`` (ONNX, serialised) is.

        Raises:
            Refused: the engine does not take it.
        """
        blob, made = model, {}
        if self.engine == "onnxruntime":
            OnnxRuntimeRunner(model)
        elif self._builds:
            try:
                built = _engine(self.engine, model, self._batch, self._capability)
            except InputError as error:
                raise Refused(_line(error)) from None
            blob = built.plan
            made = {name: built.facts()[name] for name in _FACTS}
        return Region(
            self.engine, self.form, blob, tuple(inputs), tuple(outputs), self._batch, made
        )


_FACTS = ("product", "version", "compute_capability", "gpu", "driver")


def _find(engine: str) -> Bindings:
    from tvmkd.tensorrt import api

    return api.find(engine)


def _engine(
    engine: str, model: bytes, batch: tuple[int, int, int] | None, capability: str | None = None
) -> Engine:
    """The engine of a region, by the builder and the cache of whole models."""
    from tvmkd.tensorrt import cache
    from tvmkd.tensorrt.options import BuildOptions

    options = BuildOptions(precision="fp32", batch=batch, compute_capability=capability)
    with tempfile.TemporaryDirectory(prefix="tvmkd-region-") as folder:
        path = Path(folder) / "region.onnx"
        path.write_bytes(model)
        try:
            return cache.get(path, options, _find(engine))[0]
        except InputError as error:
            # The file is gone by the time that somebody reads this.
            raise InputError(str(error).removeprefix(f"{path}: ")) from None


def check_runs_here(engine: str) -> None:
    """Makes sure, before the work, that an engine can run here.

    Raises:
        MissingError: its package or a GPU is not there; says how to get it.
    """
    if engine != "onnxruntime":
        from tvmkd.tensorrt import cuda

        _find(engine)
        cuda.find().close()


@contextlib.contextmanager
def running(region: Region) -> Iterator[Runner]:
    """What runs a region here; builds its engine first where the library carries its ONNX.

    Raises:
        MissingError: the engine's package or a GPU is not there; says how to get it.
        InputError: a plan of another TensorRT or for another GPU, or one that cannot be built.
    """
    if region.engine == "onnxruntime":
        try:
            yield OnnxRuntimeRunner(region.blob)
        except Refused as error:
            raise InputError(f"ONNX Runtime refuses a region here: {error}") from None
        return
    from tvmkd.tensorrt import cuda, runner

    bindings, plan = _find(region.engine), region.blob
    with contextlib.closing(cuda.find()) as runtime:
        if region.form == "onnx":
            plan = _engine(region.engine, region.blob, region.batch).plan
        else:
            _check_made_for(region, bindings)
        with runner.Runner(plan, bindings, runtime) as ready:
            yield ready


def _check_made_for(region: Region, bindings: Bindings) -> None:
    from tvmkd.tensorrt import device

    gpu = device.find()
    here = {"product": bindings.product, "version": bindings.version}
    if gpu is not None:
        here |= {"compute_capability": gpu.compute_capability}
        here |= {"gpu": gpu.name, "driver": gpu.driver}
    for name, value in here.items():
        built = region.made.get(name)
        if built is not None and built != value:
            raise InputError(
                f"a region's engine is of another {name.replace('_', ' ')}: built for {built}, "
                f"here is {value}; build the artifact here"
            )


def open_region(data: bytes) -> Callable[..., None]:
    """Makes a region ready to run, from what `Region.to_bytes` wrote.

    Returns:
        a function of TVM tensors: the inputs, then the outputs, which it writes.

    Raises:
        MissingError, InputError: see `running`.
    """
    region = Region.from_bytes(bytes(data))
    kept = contextlib.ExitStack()
    runner = kept.enter_context(running(region))
    count = len(region.inputs)

    def run(*tensors: Any) -> None:
        inputs = dict(zip(region.inputs, map(_array, tensors[:count]), strict=True))
        found = runner.infer(inputs)
        for name, place in zip(region.outputs, tensors[count:], strict=True):
            place.copyfrom(np.ascontiguousarray(found[name]))

    # TVM lets the function go with its module.
    weakref.finalize(run, kept.close)
    return run


def _array(tensor: Any) -> np.ndarray:
    """A TVM tensor as numpy: where it lies, if that is the CPU's memory."""
    try:
        return np.from_dlpack(tensor)
    except (TypeError, ValueError, BufferError, RuntimeError):
        copied: np.ndarray = tensor.numpy()
        return copied
