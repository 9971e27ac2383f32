"""TensorRT inside TVM: builds the engine of a region, stores it in the library, and runs it.

A region is a part of a model that TVM offloads. It arrives as ONNX, and the same builder and runner
as for a whole model process it. The library contains the region's engine if that can be built in
advance; else it contains the ONNX model, and the engine is built when the library is first loaded.
ONNX Runtime can replace TensorRT, so that the whole path also works without a GPU.

Nothing here imports TVM, which calls these functions through :mod:`tvmkd.byoc.regions`.
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
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.targets import Target

if TYPE_CHECKING:
    from tvmkd.tensorrt.api import Bindings
    from tvmkd.tensorrt.engine import Engine

ENGINES = {
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
    "onnxruntime": "ONNX Runtime",
}
"""The engines that run regions, and their names in messages."""

UNSIGNED = ("onnxruntime",)
"""Engines that read unsigned integers and zero points other than 0; INT8 in TensorRT has neither.
"""

REDUCED = ("tf32", "fp16")
"""What TensorRT can compute the FP32 of a model in."""

Form = Literal["onnx", "plan"]
MAGIC = b"TVMKDRG1"


class Refused(Exception):
    """The engine does not support a region; the message is the reason."""


@dataclass(frozen=True)
class Region:
    """A region as it is stored in a library.

    Attributes:
        engine: the engine that runs it, one of ``ENGINES``.
        form: whether ``blob`` is an ONNX model or an engine's plan.
        inputs, outputs: names, in the order of the function's arguments.
        batch: smallest, best and largest batch if the first axis is free, else None.
        precision: of the engine, as in `tvmkd.tensorrt.options.BuildOptions`.
        made: for a plan, the environment it was built in and for, as in
            :class:`tvmkd.tensorrt.engine.Engine`: ``product``, ``version``,
            ``compute_capability``, ``gpu``, ``driver``. Empty for ONNX.
    """

    engine: str
    form: Form
    blob: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch: tuple[int, int, int] | None = None
    made: Mapping[str, str | None] = field(default_factory=dict)
    precision: str = "fp32"

    def to_bytes(self) -> bytes:
        """A magic number, the length of the JSON header in eight bytes, the header, the blob."""
        header = {key: value for key, value in vars(self).items() if key != "blob"}
        text = json.dumps(header, sort_keys=True).encode()
        return MAGIC + len(text).to_bytes(8, "little") + text + self.blob

    @classmethod
    def from_bytes(cls, data: bytes) -> Region:
        """Reads what `to_bytes` wrote.

        Raises:
            InputError: the data is damaged, or was written by another version.
        """
        start = len(MAGIC) + 8
        end = start + int.from_bytes(data[len(MAGIC) : start], "little")
        try:
            if not data.startswith(MAGIC):
                raise ValueError("no region of this tvmkd")
            # Older libraries lack it.
            header = {"precision": "fp32", **json.loads(data[start:end])}
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
    """Runs a region; :class:`tvmkd.tensorrt.runner.Runner` implements it too."""

    def infer(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Runs it once, by names."""


class OnnxRuntimeRunner:
    """Runs a region with ONNX Runtime on the CPU.

    Args:
        model: a serialised ONNX model.

    Raises:
        Refused: ONNX Runtime cannot load the model.
    """

    def __init__(self, model: bytes) -> None:
        # TVM's own kernels read the same variable; without it both use every core.
        threads = int(os.environ.get("TVM_NUM_THREADS") or 0)
        try:
            # As exact as the reference of every build.
            self._session = onnx_runtime.open_session(model, threads=threads, exact=True)
        except onnx_runtime.Unloadable as error:
            raise Refused(error.reason) from None
        self._names = [output.name for output in self._session.get_outputs()]

    def infer(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Runs it once, by names."""
        return dict(zip(self._names, self._session.run(None, dict(inputs)), strict=True))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


class Maker:
    """Makes a `Region` of each region of a library for one target.

    Args:
        engine: one of ``ENGINES``.
        target: ``Target.to_dict()`` of the library.
        batch: smallest, best and largest batch, for models whose first axis is free.
        precision: one of `REDUCED`: what the engine computes FP32 in. A region in FP16 or with
            quantised tensors is computed as it is.

    Attributes:
        precision: as given, or ``fp32``.

    Raises:
        UsageError: the engine cannot compute in ``precision``.
        MissingError: the target is this machine, and the engine's package or a GPU is missing; or
            TensorRT-RTX is missing, which builds for the target's GPU. Says how to get it.
        InputError: the target has no GPU.
    """

    def __init__(
        self,
        engine: str,
        target: Mapping[str, Any],
        batch: tuple[int, int, int] | None = None,
        precision: str | None = None,
    ) -> None:
        check_precision(engine, precision)
        self.engine, self._batch = engine, batch
        self.precision = precision or "fp32"
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
        """The form of the regions: a plan if the engine can be built here, else ONNX.

        TensorRT builds for the GPU of this machine only, TensorRT-RTX for any GPU by its name.
        """
        return "plan" if self._builds else "onnx"

    def make(self, model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> Region:
        """Makes the region.

        Args:
            model: a serialised ONNX model.
            inputs, outputs: its names, in the order of the function's arguments.

        Raises:
            Refused: the engine does not support the model.
        """
        blob, made, kind = model, {}, self._kind(model)
        if self.engine == "onnxruntime":
            OnnxRuntimeRunner(model)
        elif self._builds:
            try:
                built = _engine(self.engine, model, self._batch, kind, self._capability)
            except InputError as error:
                raise Refused(_line(error)) from None
            blob = built.plan
            made = {name: built.facts()[name] for name in _FACTS}
        return Region(
            self.engine, self.form, blob, tuple(inputs), tuple(outputs), self._batch, made, kind
        )

    def _kind(self, model: bytes) -> str:
        """The precision to compute a region in: its own, if that is not FP32."""
        import onnx

        from tvmkd.tensorrt import precision

        own = precision.stored(onnx.load_model_from_string(model))
        return self.precision if own == "fp32" else own


def check_precision(engine: str | None, precision: str | None) -> None:
    """Checks that an engine can compute a model's FP32 in a precision.

    Raises:
        UsageError: it cannot, or there is no engine.
    """
    if precision is not None and engine is None:
        raise UsageError("--byoc-precision goes with --byoc")
    if precision in (None, "fp32"):
        return
    if precision == "int8":
        raise UsageError(
            "regions in INT8 come from a model with QuantizeLinear and DequantizeLinear: quantise "
            "it first, symmetrically (tvmkd.export.qdq.quantize)"
        )
    if precision not in REDUCED:
        raise UsageError(f'"{precision}" is no precision of regions: fp32, {", ".join(REDUCED)}')
    if engine == "onnxruntime":
        raise UsageError(f"ONNX Runtime computes regions in the model's precision, not {precision}")


_FACTS = ("product", "version", "compute_capability", "gpu", "driver")


def _find(engine: str) -> Bindings:
    from tvmkd.tensorrt import api

    return api.find(engine)


def _engine(
    engine: str,
    model: bytes,
    batch: tuple[int, int, int] | None,
    precision: str,
    capability: str | None = None,
) -> Engine:
    """Builds the engine of a region, or takes it from the cache, as for a whole model."""
    from tvmkd.tensorrt import cache
    from tvmkd.tensorrt.options import BuildOptions

    options = BuildOptions(
        precision=precision,  # type: ignore[arg-type]
        batch=batch,
        compute_capability=capability,
    )
    with tempfile.TemporaryDirectory(prefix="tvmkd-region-") as folder:
        path = Path(folder) / "region.onnx"
        path.write_bytes(model)
        try:
            return cache.get(path, options, _find(engine))[0]
        except InputError as error:
            # The temporary file does not exist any more when the message is read.
            raise InputError(str(error).removeprefix(f"{path}: ")) from None


def check_runs_here(engine: str) -> None:
    """Makes sure that an engine can run on this machine, before any long work.

    Raises:
        MissingError: its package or a GPU is missing; says how to get it.
    """
    if engine == "onnxruntime":
        onnx_runtime.package()
        return
    from tvmkd.tensorrt import cuda

    _find(engine)
    cuda.find().close()


GRAPH = "TVMKD_CUDA"
"""The environment variable that asks for CUDA graphs with the value ``graph``, as standalone
libraries read it; here each region is a graph of its own.
"""


@contextlib.contextmanager
def running(region: Region, graph: bool = False) -> Iterator[Runner]:
    """A context manager with the runner of a region; builds the engine of an ONNX region first.

    Args:
        region: to run.
        graph: as a CUDA graph, where it runs on a GPU.

    Raises:
        MissingError: the engine's package or a GPU is missing; says how to get it.
        InputError: the plan is of another TensorRT version or for another GPU, or the engine
            cannot be built.
    """
    if region.engine == "onnxruntime":
        try:
            yield OnnxRuntimeRunner(region.blob)
        except Refused as error:
            raise InputError(f"ONNX Runtime cannot load a region: {error}") from None
        return
    from tvmkd.tensorrt import cuda, runner

    bindings, plan = _find(region.engine), region.blob
    with contextlib.closing(cuda.find()) as runtime:
        if region.form == "onnx":
            plan = _engine(region.engine, region.blob, region.batch, region.precision).plan
        else:
            _check_made_for(region, bindings)
        if graph and not runtime.captures:
            raise MissingError(f"{runtime.package} has no calls for CUDA graphs: unset {GRAPH}")
        with runner.Runner(plan, bindings, runtime, graph=graph) as ready:
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
                f"the engine of a region has another {name.replace('_', ' ')}: built for {built}, "
                f"here is {value}; build the artifact on this machine"
            )


def open_region(
    data: bytes, tensor: Callable[[np.ndarray], Any] = np.asarray
) -> Callable[..., Any]:
    """Opens a region that `Region.to_bytes` wrote.

    Args:
        data: the region.
        tensor: makes a TVM tensor of an array.

    Returns:
        A function of TVM tensors: the inputs, then the outputs, which it writes. Without outputs,
        whose shapes then depend on the data, it returns new ones: a list, or one if there is one.

    Raises:
        MissingError, InputError: see `running`.
    """
    region = Region.from_bytes(bytes(data))
    kept, graph = contextlib.ExitStack(), os.environ.get(GRAPH) == "graph"
    runner = kept.enter_context(running(region, graph))
    count = len(region.inputs)

    def run(*tensors: Any) -> Any:
        inputs = dict(zip(region.inputs, map(_array, tensors[:count]), strict=True))
        found = runner.infer(inputs)
        refusal = getattr(runner, "no_graph", None) if graph else None
        if refusal:
            raise InputError(
                f"a region cannot run as a CUDA graph: {refusal}; unset {GRAPH}, or compare with "
                "--no-cuda-graph"
            )
        # Not ascontiguousarray, which gives a scalar an axis.
        arrays = [np.asarray(found[name], order="C") for name in region.outputs]
        places = tensors[count:]
        if not places:
            made = [tensor(array) for array in arrays]
            return made if len(made) > 1 else made[0]
        for array, place in zip(arrays, places, strict=True):
            _write(place, array)
        return None

    # TVM releases the function together with its module.
    weakref.finalize(run, kept.close)
    return run


def _write(tensor: Any, array: np.ndarray) -> None:
    """Writes into a TVM tensor."""
    try:
        place = np.from_dlpack(tensor)
    except (TypeError, ValueError, BufferError, RuntimeError):
        place = None
    if place is not None and place.flags.writeable:
        place[...] = array
    else:
        tensor.copyfrom(array)


def _array(tensor: Any) -> np.ndarray:
    """A TVM tensor as a numpy array; without a copy if it is in the CPU's memory."""
    try:
        return np.from_dlpack(tensor)
    except (TypeError, ValueError, BufferError, RuntimeError):
        copied: np.ndarray = tensor.numpy()
        return copied
