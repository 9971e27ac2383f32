"""The comparison as data. Incompatible changes of the format change ``schema_version``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text, write_text

SCHEMA_VERSION = 1


class _Table(BaseModel):
    # The docstring below a field is its description in docs/reference/formats.md.
    model_config = ConfigDict(use_attribute_docstrings=True)


class Tensor(_Table):
    """One input or output of the model."""

    name: str
    """Name in the ONNX file."""
    shape: list[int | str]
    """Sizes; a string is the name of a free dimension."""
    dtype: str
    """A numpy dtype, such as ``float32``."""


class Model(_Table):
    """The model that every engine ran."""

    path: str
    """The ONNX file."""
    sha256: str
    """Its SHA-256, in hex."""
    inputs: list[Tensor]
    """In the file's order."""
    outputs: list[Tensor]
    """In the file's order."""


class Gpu(_Table):
    """An NVIDIA GPU according to nvidia-smi. Lists: before, after each round, at the end."""

    name: str | None
    """Name of the GPU."""
    driver: str | None
    """Version of the driver."""
    sm_mhz: list[float | None]
    """SM clock, MHz."""
    memory_mhz: list[float | None]
    """Memory clock, MHz."""
    max_sm_mhz: float | None
    """Highest SM clock, MHz."""
    temperature_c: list[float | None]
    """Temperature, °C."""
    power_w: list[float | None]
    """Power, W."""
    power_limit_w: float | None
    """Power limit, W."""
    slowed_by: list[str]
    """Why the clocks were reduced, at any reading."""
    locked: bool
    """The clocks were held: see `tvmkd.bench.gpu`."""
    busy_before: float | None = None
    """Share of the time in which kernels ran before the comparison began, %."""
    others: list[str] = Field(default_factory=list)
    """Processes that computed on it before: name and number."""
    mig: bool | None = None
    """It is divided (MIG): an engine has a slice of it."""


class Context(_Table):
    """The machine and its state. Unknown values are null; lists: before and after."""

    machine: str
    """The board's model, or this computer's architecture."""
    system: str
    """Operating system and kernel."""
    cpu: str
    """Name of the CPU."""
    cpus: int
    """CPUs that the process may use."""
    memory_bytes: int | None = None
    """Memory, bytes."""
    governor: str | None = None
    """Frequency governor."""
    turbo: bool | None = None
    """Whether turbo clocks are allowed."""
    temperature_c: list[float | None]
    """Temperature of the CPU, °C."""
    mhz: list[float | None]
    """Clock of the CPU, MHz."""
    load_1min: list[float]
    """Load average over one minute."""
    python: str
    """Version of Python."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Version of each engine, by name."""
    board: dict[str, Any] | None = None
    """What the board reported about itself, if the engines ran on one."""
    emulated: bool = False
    """An emulated board: the times mean nothing."""
    gpu: Gpu | None = None
    """Set if an engine ran on an NVIDIA GPU of this machine."""
    clocks_locked: bool | None = None
    """Whether the clocks of the GPU or board were locked; null: neither, or unknown."""


class Method(_Table):
    """How it was measured."""

    threads: int
    """Threads of every engine."""
    pinned_cpus: list[int]
    """CPUs that every engine was pinned to."""
    rounds: int
    """Rounds in which the engines took turns."""
    order: str
    """Order of the engines within the rounds."""
    seconds: float
    """Requested measuring time of each engine, seconds, without warm-up."""
    seed: int | None
    """Seed of the random inputs; null: inputs were given."""
    samples_checked: int
    """Number of inputs on which outputs were compared."""
    reference: str
    """What the outputs were compared with."""
    measured: str
    """What one sample is."""
    idle: str
    """What the other engines did meanwhile."""
    builds: int = 1
    """Builds of each engine that is built here."""
    processes: int = 1
    """How often each engine was started."""
    cuda_graph: bool | None = None
    """Whether engines on the GPU ran through CUDA graphs; null: there were none."""


class Budget(_Table):
    """The time budget."""

    model_ms: float
    """For one run of the model, milliseconds."""


class Build(_Table):
    """One of several builds of an engine. Times in milliseconds."""

    p50: float
    """Median of this build."""
    ci95: tuple[float, float]
    """95 % interval of that median."""
    round_sizes: list[int]
    """Its samples in each round; in ``samples_ms`` they follow those of earlier builds."""
    engine_seconds: float | None = None
    """Seconds to build it."""
    size_bytes: int | None = None
    """Size, bytes."""


class Engine(_Table):
    """One engine's results. Times in milliseconds."""

    name: str
    """The engine's name in this comparison."""
    kind: str
    """The engine that ran: a registered name or ``module:Class``."""
    precision: str
    """``fp32``, ``tf32``, ``fp16`` or ``int8``."""
    threads: int
    """Threads it used."""
    samples_ms: list[float]
    """Every sample, round after round."""
    round_sizes: list[int]
    """Number of samples in each round."""
    process_rounds: list[int] = Field(default_factory=list)
    """Number of rounds of each of its processes, which ran one after the other; empty: one."""
    p50: float
    """Median."""
    p90: float
    """90th percentile."""
    p95: float
    """95th percentile."""
    p99: float
    """99th percentile."""
    mean: float
    """Mean."""
    min: float
    """Smallest sample."""
    max: float
    """Largest sample."""
    ci95: tuple[float, float]
    """95 % interval of the median; it includes what differs between processes and builds."""
    max_abs_error: float
    """Largest difference from the reference, over all outputs."""
    relative_error: float
    """``max_abs_error`` divided by the output's largest magnitude."""
    tolerance: float | None = None
    """The ``relative_error`` that is allowed."""
    device: Literal["CPU", "GPU"] | None = None
    """Where it ran; null: unknown."""
    build_seconds: float
    """Seconds to load or compile, without imports."""
    engine_seconds: float | None = None
    """Seconds to build the engine or the artifact, whenever that was."""
    tuning_seconds: float | None = None
    """Seconds to build and measure all trials, added up."""
    size_bytes: int | None = None
    """Size of what has to be shipped, bytes."""
    peak_rss_bytes: int | None = None
    """Peak memory of its process, bytes."""
    gpu_memory_bytes: int | None = None
    """GPU memory that the engine holds, bytes."""
    builds: list[Build] = Field(default_factory=list)
    """The builds, if there were several."""
    warm_up: dict[str, Any]
    """The warm-up: ``seconds``, whether the times were ``stable``, and their ``spread``."""
    other_cpu: float | None = None
    """CPUs that other processes used while this engine was timed."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """Facts from the engine itself, such as versions and options."""

    def memory(self) -> int | None:
        """The peak memory where it ran; in older files it is one of the facts."""
        if self.peak_rss_bytes is not None or "board" in self.facts:
            return self.peak_rss_bytes
        return self.facts.get("peak_rss_bytes")

    def rounds(self) -> list[list[float]]:
        """``samples_ms`` by round."""
        result, start = [], 0
        for size in self.round_sizes:
            result.append(self.samples_ms[start : start + size])
            start += size
        return result

    def processes(self) -> list[list[list[float]]]:
        """`rounds` by process."""
        rounds, result, start = self.rounds(), [], 0
        for count in self.process_rounds or [len(rounds)]:
            result.append(rounds[start : start + count])
            start += count
        return result


class LeftOut(_Table):
    """An engine that was requested and has no results."""

    name: str
    """The engine's name in this comparison."""
    kind: str
    """The engine: a registered name or ``module:Class``."""
    why: Literal["missing", "failed", "disagrees"]
    """Something is not installed, it failed, or its outputs are wrong."""
    reason: str
    """The message."""


class Pair(_Table):
    """The median of ``name`` divided by that of ``against``: below 1 is faster."""

    name: str
    """The engine in the numerator."""
    against: str
    """The engine in the denominator."""
    ratio: float
    """The ratio of the medians; with several processes the geometric mean of their ratios."""
    ci95: tuple[float, float]
    """Its 95 % interval."""
    decided: bool
    """The interval excludes 1: the difference is more than noise."""


class Verdict(_Table):
    """Which engine is fastest."""

    fastest: str | None = None
    """The engine with the smallest median; null without engines."""
    pairs: list[Pair] = Field(default_factory=list)
    """Each other engine against the fastest."""
    sentence: str
    """The verdict in words."""


class Comparison(_Table):
    """One run of `tvmkd compare`."""

    schema_version: Literal[1] = 1
    """1."""
    tool: str
    """Name and version of the program that wrote it."""
    created: str
    """UTC, ISO 8601."""
    model: Model
    """What was run."""
    context: Context
    """Where it was run."""
    method: Method
    """How it was run."""
    budget: Budget | None = None
    """The time budget, if one was given."""
    engines: list[Engine]
    """The engines that were measured."""
    left_out: list[LeftOut] = Field(default_factory=list)
    """The engines that were not."""
    verdict: Verdict
    """Which engine is fastest."""
    warnings: list[str] = Field(default_factory=list)
    """What makes the results less reliable."""

    def engine(self, name: str) -> Engine | None:
        """The engine of that name, or None."""
        return next((engine for engine in self.engines if engine.name == name), None)

    def save(self, path: Path | str) -> None:
        """Writes the JSON atomically.

        Raises:
            InputError: the file cannot be written.
        """
        write_text(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Comparison:
        """Reads a file written by `save`.

        Raises:
            InputError: missing, not JSON, another schema version, or not a comparison.
        """
        path = Path(path)
        try:
            data = json.loads(read_text(path))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; `tvmkd compare --json` writes one") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: not a comparison in JSON: {error}") from None
        if not isinstance(data, dict) or "schema_version" not in data:
            raise InputError(f"{path}: not a comparison: it has no schema_version")
        if data["schema_version"] != SCHEMA_VERSION:
            raise InputError(
                f"{path}: schema version {data['schema_version']}, this tvmkd reads "
                f"{SCHEMA_VERSION}: run `tvmkd compare` again"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: not a comparison: {where}: {first['msg']}") from None
