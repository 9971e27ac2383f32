"""The artifacts of a network for a comparison: untuned, tuned, and with TensorRT's regions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tvmkd import targets
from tvmkd.base.engine_registry import TVM, UNTUNED
from tvmkd.base.errors import MissingError, TvmkdError
from tvmkd.base.runtimes import STANDALONE
from tvmkd.base.runtimes import TVM as TVM_RUNTIME
from tvmkd.base.wire import Event
from tvmkd.bench.engines import engine_class
from tvmkd.bench.schema import LeftOut
from tvmkd.byoc.region import REDUCED
from tvmkd.stacks import compile as compiling
from tvmkd.targets import Target

BYOC = "tensorrt"
OFFLOADED = f"{TVM}+{BYOC}"


@dataclass(frozen=True)
class Wanted:
    """What is built.

    Attributes:
        target: what for.
        engines: names of engines; the artifacts of others are not built. Empty: all of them.
        records: folders of tuning records, beside those that ship.
        trials: to tune each network by first; 0: none.
        precision: what TensorRT may compute FP32 in.
    """

    target: Target
    engines: tuple[str, ...] = ()
    records: tuple[Path, ...] = ()
    trials: int = 0
    precision: str = "fp32"


def build(
    wanted: Wanted, onnx: Path, folder: Path, tell: Event
) -> tuple[dict[str, Path], list[LeftOut]]:
    """Builds the artifacts of a network.

    On a GPU they are standalone libraries, which `tvmkd.load` runs there.

    Args:
        wanted: what to build.
        onnx: the network.
        folder: for artifacts and records.
        tell: gets the events of `tvmkd.stacks.compile`.

    Returns:
        the artifact of each engine, and the engines that have none, with the reason.
    """
    made: dict[str, Path] = {}
    left: list[LeftOut] = []
    # Records are of one target.
    mark = hashlib.sha256(repr(sorted(wanted.target.tvm.items())).encode()).hexdigest()[:8]
    own = folder / f"records-{wanted.target.name}-{mark}"

    def one(name: str, work: Callable[[Path], None]) -> None:
        if wanted.engines and name not in wanted.engines:
            return
        out = folder / name.replace(":", "-").replace("+", "-")
        try:
            work(out)
            made[name] = out
        except TvmkdError as error:
            lacks = isinstance(error, MissingError)
            why: Literal["missing", "failed"] = "missing" if lacks else "failed"
            left.append(LeftOut(name=name, kind=name, why=why, reason=str(error)))

    def untuned(out: Path) -> None:
        _build(wanted.target, onnx, [], out, tell, shipped=False)

    def tuned(out: Path) -> None:
        if wanted.trials:
            compiling.tune(
                onnx,
                wanted.target,
                own,
                trials=wanted.trials,
                tracker=None,
                key="local",
                on_event=tell,
            )
        records = [*wanted.records, *([own] if wanted.trials else [])]
        if not records and compiling.shipped_records(wanted.target) is None:
            raise MissingError(
                f"no kernel is tuned for {wanted.target.name}: give --records, or --trials"
            )
        _build(wanted.target, onnx, records, out, tell, shipped=True)

    def offloaded(out: Path) -> None:
        lacks = engine_class(OFFLOADED).lacks_package(OFFLOADED) or engine_class(
            BYOC
        ).lacks_package(BYOC)
        if lacks is not None:
            raise MissingError(lacks)
        # INT8 comes from the model.
        reduced = wanted.precision if wanted.precision in REDUCED else None
        # What TensorRT does not take runs on the CPU beside the GPU.
        host = targets.load(targets.HOST)
        compiling.build(onnx, host, [], out, byoc=BYOC, byoc_precision=reduced, on_event=tell)

    one(UNTUNED, untuned)
    one(TVM, tuned)
    if wanted.target.cuda is not None:
        one(OFFLOADED, offloaded)
    return made, left


def _build(
    target: Target, onnx: Path, records: Sequence[Path], out: Path, tell: Event, *, shipped: bool
) -> None:
    runtime = TVM_RUNTIME if target.cuda is None else STANDALONE
    compiling.build(onnx, target, records, out, shipped=shipped, runtime=runtime, on_event=tell)
