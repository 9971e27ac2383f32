"""Targets: one TOML file per board or host. ``load("jetson-nano")`` gives a `Target`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.base import machine, nvidia_driver, resources, wide_registers
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.files import read_text
from tvmkd.base.nvidia_driver import Gpu
from tvmkd.base.runtimes import STANDALONE, TVM
from tvmkd.base.text import listing, suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Toolchain:
    """How a shared library is linked for the target: GNU triple and oldest supported glibc."""

    triple: str
    glibc: str


@dataclass(frozen=True)
class Cuda:
    """The GPU side.

    Attributes:
        arch: ``sm_NN``.
        ptx_max: the newest PTX version that the driver accepts.
        tensorrt: the release there; empty: unknown.
        multiprocessors: how many it has; 0: unknown.
        memory_gb_s: what its memory gives on paper, in GB/s; 0: unknown.
    """

    arch: str
    ptx_max: str
    tensorrt: str
    multiprocessors: int = 0
    memory_gb_s: float = 0.0


@dataclass(frozen=True)
class CpuFacts:
    """What one core computes with, for the schedules and their cost model.

    Attributes:
        lanes: float32 values in a vector register.
        registers: vector registers.
        latency: cycles from one multiply-add to the next that adds to its result.
        fma, loads: vector multiply-adds and vector loads that start in a cycle.
        l1, l2: bytes of the first and second data cache of one core.
        by_lane: whether a multiply-add takes one factor from a lane of a register, as NEON's does.
        line: cycles that 64 bytes from memory cost one core; None: convolutions are computed by
            Winograd's algorithm where that was found faster on x86-64.
    """

    lanes: int
    registers: int
    latency: int
    fma: int
    loads: int
    l1: int
    l2: int
    by_lane: bool = False
    line: float | None = None


@dataclass(frozen=True)
class Precision:
    """Whether a precision pays on the target, and why."""

    ok: bool
    reason: str


@dataclass(frozen=True)
class Target:
    """A machine to compile for.

    Attributes:
        name: the file's name without suffix, ``jetson-nano``.
        description: one line for people.
        device: ``cpu`` or ``cuda``, where the kernels run.
        tvm: the TVM target as a dict, ``num-cores`` resolved.
        host: the TVM target of the host code where the device is not the CPU.
        toolchain: how to link for it.
        cuda: the GPU's facts, None on a CPU target.
        cpu: the facts of one core; None: those of a core with AVX2 are assumed.
        precisions: fp32, fp16 and int8: whether each pays.
        channel_multiple: channel counts should be rounded to a multiple of this.
        budget: default budgets in ms: ``total_ms``, ``model_ms``.
        power: the commands of the power modes, and ``watts``.
        unused: what the chip has and tvmkd does not use, and why: ``dla``, ``sparsity``.
        thermal: ``pause_celsius``, at which tuning pauses on a board until it has cooled to
            ``resume_celsius``; empty: never pause.
    """

    name: str
    description: str
    device: str
    tvm: dict[str, Any]
    toolchain: Toolchain
    precisions: dict[str, Precision]
    host: dict[str, Any] | None = None
    cuda: Cuda | None = None
    cpu: CpuFacts | None = None
    channel_multiple: int = 8
    budget: dict[str, float] = field(default_factory=dict)
    power: dict[str, Any] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    thermal: dict[str, float] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The CPU architecture, ``x86_64`` or ``aarch64``."""
        return self.toolchain.triple.partition("-")[0]

    @property
    def mcpu(self) -> str:
        """The CPU that the host code is compiled for (LLVM's name)."""
        return str((self.host or self.tvm).get("mcpu", ""))

    def check_pays(self, precision: str, allow_slow: bool = False) -> str | None:
        """Rejects a precision that does not pay on the target, with the file's reason.

        Args:
            precision: ``fp32``, ``fp16`` or ``int8``.
            allow_slow: do not reject it, but return the warning.

        Returns:
            None if it pays, otherwise a one-line warning.

        Raises:
            InputError: it does not pay, and ``allow_slow`` was not given.
        """
        found = self.precisions[precision]
        if found.ok:
            return None
        line = f"{self.name}: {precision} does not pay there: {found.reason}"
        if not allow_slow:
            raise InputError(f"{line}; allow_slow has it done all the same")
        return line

    def runs_here(self, runtime: str = TVM) -> str | None:
        """None if code for this target runs on this machine, otherwise the reason why not.

        Args:
            runtime: one of `tvmkd.base.runtimes.RUNTIMES`. A standalone library for a GPU opens the
                GPU's driver itself, and tells when there is none; its other code runs on any CPU of
                the architecture.
        """
        if self.device != "cpu" and runtime != STANDALONE:
            return (
                f"its kernels run on {self.device}, and here only on a board's server; one that "
                "was built with --runtime standalone can be loaded"
            )
        here = machine.architecture()
        if here != self.architecture:
            return f"it is built for {self.architecture} and this machine is {here}"
        if self.device != "cpu":
            return None
        attributes = (self.host or self.tvm).get("mattr", ())
        needed = machine.required_features(self.mcpu, attributes)
        missing = needed - machine.cpu_features()
        if missing:
            return f"it needs CPU features that are missing here: {listing(sorted(missing))}"
        return None

    def why_not_here(self, runtime: str = TVM) -> str | None:
        """As `runs_here`; and this machine's GPU is one that the target's code is for."""
        reason = self.runs_here(runtime)
        return _gpu_lacks(self.cuda) if reason is None and self.cuda is not None else reason

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-safe data; `from_dict` restores the same target."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str = "target") -> Target:
        """Builds a target from plain data.

        Raises:
            InputError: a key is unknown or missing, or a value has the wrong type; the message has
                ``where``, the key and the expected value.
        """
        values = _fields(cls, data, where)
        for key, kind in (("toolchain", Toolchain), ("cuda", Cuda), ("cpu", CpuFacts)):
            if values.get(key) is not None:
                table = _typed(values[key], dict, f"{where}: [{key}]")
                values[key] = kind(**_fields(kind, table, f"{where}: [{key}]"))
        precisions = _typed(values["precisions"], dict, f"{where}: [precisions]")
        if set(precisions) != set(PRECISIONS):
            raise InputError(f"{where}: [precisions] must have exactly {listing(PRECISIONS)}")
        values["precisions"] = {
            name: Precision(**_fields(Precision, precisions[name], f"{where}: precisions.{name}"))
            for name in PRECISIONS
        }
        kinds = {"tvm": dict, "channel_multiple": int, "budget": dict}
        kinds |= {"thermal": dict, "unused": dict}
        for key, wanted in kinds.items():
            if key in values:
                _typed(values[key], wanted, f"{where}: {key}")
        if values.get("thermal") and not _is_hysteresis(values["thermal"]):
            raise InputError(
                f"{where}: [thermal] wants resume_celsius below pause_celsius, both numbers"
            )
        if "kind" not in values["tvm"]:
            raise InputError(f'{where}: [tvm] has no "kind"; give for example kind = "llvm"')
        if values["device"] not in DEVICES:
            raise InputError(f"{where}: device must be one of {listing(DEVICES)}")
        if values["device"] == "cuda" and values.get("host") is None:
            raise InputError(f"{where}: a cuda target needs a [host] table for its CPU side")
        for key in ("tvm", "host"):
            table = values.get(key)
            if table and table.get("num-cores") == "physical":
                values[key] = {**table, "num-cores": machine.physical_cores()}
        return cls(**values)


def _is_hysteresis(thermal: dict[str, Any]) -> bool:
    if set(thermal) != {"resume_celsius", "pause_celsius"}:
        return False
    low, high = thermal["resume_celsius"], thermal["pause_celsius"]
    return type(low) in (int, float) and type(high) in (int, float) and low < high


def _fields(kind: type[Any], data: Any, where: str) -> dict[str, Any]:
    data = _typed(data, dict, where)
    known = {item.name: item for item in dataclasses.fields(kind)}
    for key in data:
        if key not in known:
            raise InputError(f'{where}: unknown key "{key}"{suggest(key, known)}')
    for name, item in known.items():
        optional = (
            item.default is not dataclasses.MISSING
            or item.default_factory is not dataclasses.MISSING
        )
        if name not in data and not optional:
            raise InputError(f'{where}: the key "{name}" is missing')
    return dict(data)


def _typed(value: Any, wanted: type[Any], where: str) -> Any:
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        names = {dict: "a table", int: "a whole number"}
        raise InputError(f"{where}: wants {names.get(wanted, wanted.__name__)}, got {value!r}")
    return value


HOST, GPU = "host", "cuda"
"""Names that stand for this machine, and for its GPU."""


def shipped() -> list[str]:
    """The names of the files that ship with tvmkd."""
    return sorted(path.stem for path in resources.folder("targets").glob("*.toml"))


def names() -> list[str]:
    """The names that `load` accepts: `HOST`, `GPU`, and the shipped files."""
    return [HOST, GPU, *shipped()]


def host_name() -> str:
    """The shipped target that ``host`` stands for on this machine.

    AVX-512 is used where a measurement says that it pays (`tvmkd.base.wide_registers`), VNNI
    wherever it is.

    Raises:
        InputError: none of the shipped targets fits this machine.
    """
    here = machine.architecture()
    if here == "aarch64":
        return "aarch64-generic"
    features = machine.cpu_features()
    if here == "x86_64" and features >= machine.X86_64_V3:
        if features >= machine.X86_64_V4 and wide_registers.pay():
            return "x86-64-v4-vnni" if machine.VNNI["+avx512vnni"] in features else "x86-64-v4"
        return "x86-64-v3-vnni" if machine.VNNI["+avxvnni"] in features else "x86-64-v3"
    raise InputError(
        f'target "host": no shipped target fits this {here} machine (on x86_64, AVX2 and FMA are '
        "needed); write a target file and give its path"
    )


def of_gpu(gpu: Gpu, host: Target) -> Target:
    """The target of a GPU of this machine, as its driver describes it.

    Args:
        gpu: see `tvmkd.base.nvidia_driver`.
        host: the machine's CPU.
    """
    fast_half = gpu.capability >= 53 and gpu.capability != 61
    half = "twice the fp32 rate" if fast_half else "slower than fp32 there"
    precisions = {
        "fp32": Precision(True, "native"),
        "fp16": Precision(fast_half, "tensor cores" if gpu.capability >= 70 else half),
        "int8": Precision(
            False, "only in TensorRT: TVM's kernels for GPUs compute such a model in float32"
        ),
    }
    cuda = ".".join(map(str, gpu.cuda))
    return Target(
        name=GPU,
        description=f"{gpu.name} of this machine, driver for CUDA {cuda}",
        device="cuda",
        tvm={
            "kind": "cuda",
            "arch": gpu.arch,
            "max_shared_memory_per_block": gpu.shared_per_block,
            "max_threads_per_block": gpu.threads_per_block,
            "registers_per_block": gpu.registers_per_block,
            "thread_warp_size": gpu.warp,
        },
        toolchain=host.toolchain,
        precisions=precisions,
        host=host.tvm,
        cuda=Cuda(gpu.arch, gpu.ptx, "", gpu.multiprocessors, gpu.memory_gb_s),
        channel_multiple=host.channel_multiple,
    )


def _gpu_lacks(cuda: Cuda) -> str | None:
    """Why this machine's first GPU cannot run the kernels of a target; None: it can."""
    try:
        gpu = nvidia_driver.gpus()[0]
    except MissingError as error:
        return f"its kernels run on an NVIDIA GPU: {error}"
    if gpu.capability < int(cuda.arch.removeprefix("sm_")):
        has = f"{gpu.capability // 10}.{gpu.capability % 10}"
        return f"it is built for {cuda.arch}, and this GPU has {has}"
    takes, needs = (tuple(map(int, each.split("."))) for each in (gpu.ptx, cuda.ptx_max))
    if takes < needs:
        return (
            f"its code is PTX {cuda.ptx_max}, and the driver here takes {gpu.ptx} at most (CUDA "
            f"{gpu.cuda[0]}.{gpu.cuda[1]}): build it for --target {GPU}, or update the driver"
        )
    return None


def load(name_or_path: str | Path) -> Target:
    """The target of that name, or of the file at that path (ends in ``.toml`` or has a ``/``).

    Raises:
        InputError: unknown name (the message lists the known names and the closest), unreadable or
            invalid file.
        MissingError: ``cuda``, and there is no NVIDIA GPU here.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text:
        return _read(Path(text))
    if text == HOST:
        text = host_name()
    if text == GPU:
        return of_gpu(nvidia_driver.gpus()[0], load(HOST))
    path = resources.folder("targets") / f"{text}.toml"
    if not path.is_file():
        known = names()
        raise InputError(
            f'unknown target "{text}"{suggest(text, known)} (known: {listing(known)}; '
            "or give the path of a target file)"
        )
    return _read(path)


def _read(path: Path) -> Target:
    try:
        data = tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such target file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the target file cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    return Target.from_dict({"name": path.stem, **data}, where=str(path))
