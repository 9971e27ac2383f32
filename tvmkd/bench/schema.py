"""The comparison as data. ``schema_version`` changes when a reader of the old one would misread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from tvmkd.base.errors import InputError
from tvmkd.base.files import write_text

SCHEMA_VERSION = 1


class Tensor(BaseModel):
    """One input or output of the model."""

    name: str
    shape: list[int | str]
    dtype: str


class Model(BaseModel):
    """What was run."""

    path: str
    sha256: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class Gpu(BaseModel):
    """An NVIDIA GPU by nvidia-smi: before, after each round, and after it all. None: not told."""

    name: str | None
    driver: str | None
    sm_mhz: list[float | None]
    memory_mhz: list[float | None]
    max_sm_mhz: float | None
    temperature_c: list[float | None]
    power_w: list[float | None]
    power_limit_w: float | None
    slowed_by: list[str] = Field(description="why clocks went down unasked, at any reading")
    locked: bool = Field(description="the clocks were held: see `tvmkd.bench.gpu`")


class Context(BaseModel):
    """Where it was run. What could not be read is None."""

    machine: str
    system: str
    cpu: str
    cpus: int
    memory_bytes: int | None = None
    governor: str | None = None
    turbo: bool | None = None
    temperature_c: list[float | None] = Field(description="before and after")
    mhz: list[float | None] = Field(description="before and after")
    load_1min: list[float] = Field(description="before and after")
    python: str
    versions: dict[str, str] = Field(default_factory=dict, description="engine name -> version")
    board: dict[str, Any] | None = Field(
        default=None, description="what the board said of itself, where the engines ran on one"
    )
    emulated: bool = Field(default=False, description="an emulated board: the times mean nothing")
    gpu: Gpu | None = Field(default=None, description="where an engine ran on an NVIDIA GPU here")
    clocks_locked: bool | None = Field(
        default=None, description="of the GPU or the board; None: of neither, or it does not tell"
    )


class Method(BaseModel):
    """How it was run: everything a sceptic needs to run it again."""

    threads: int
    pinned_cpus: list[int]
    rounds: int
    order: str
    seconds: float = Field(description="asked for, per engine, warm-up not counted")
    seed: int | None = Field(description="of the random inputs; None: inputs were given")
    samples_checked: int = Field(description="inputs on which outputs were compared")
    reference: str
    measured: str
    idle: str
    builds: int = Field(default=1, description="of each engine that is built here")
    cuda_graph: bool | None = Field(
        default=None, description="for all engines on a GPU or for none; None: there were none"
    )


class Budget(BaseModel):
    """What the model may take."""

    model_ms: float


class Build(BaseModel):
    """One of several builds of an engine. Times in milliseconds."""

    p50: float
    ci95: tuple[float, float] = Field(description="of the median of this build")
    round_sizes: list[int] = Field(
        description="its calls of each round, which in samples_ms follow those of earlier builds"
    )
    engine_seconds: float | None = Field(default=None, description="as the engine's")
    size_bytes: int | None = None


class Engine(BaseModel):
    """One engine's figures. Times in milliseconds."""

    name: str
    kind: str
    precision: str
    threads: int
    samples_ms: list[float]
    round_sizes: list[int] = Field(description="how samples_ms divides into rounds")
    p50: float
    p90: float
    p95: float
    p99: float
    mean: float
    min: float
    max: float
    ci95: tuple[float, float] = Field(
        description="of the median; with several builds, what they differ by is in it"
    )
    max_abs_error: float = Field(description="against the reference, over all outputs")
    relative_error: float = Field(description="max_abs_error / the output's largest magnitude")
    tolerance: float | None = Field(default=None, description="the relative_error allowed")
    device: Literal["CPU", "GPU"] | None = Field(default=None, description="None: not known")
    build_seconds: float = Field(description="to load or compile, imports not counted")
    engine_seconds: float | None = Field(
        default=None, description="to build the engine or the artifact, whenever that was"
    )
    tuning_seconds: float | None = Field(
        default=None, description="that building and measuring the trials took, all added up"
    )
    size_bytes: int | None = None
    peak_rss_bytes: int | None = Field(default=None, description="where the engine ran")
    gpu_memory_bytes: int | None = Field(default=None, description="that the engine holds")
    builds: list[Build] = Field(default_factory=list, description="where there were several")
    warm_up: dict[str, Any]
    other_cpu: float | None = Field(
        default=None, description="CPUs' worth of work by other processes while this one was timed"
    )
    facts: dict[str, Any] = Field(default_factory=dict)

    def memory(self) -> int | None:
        """The peak memory where it ran; older files have it among the facts."""
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


class LeftOut(BaseModel):
    """An engine that was asked for and has no figures."""

    name: str
    kind: str
    why: Literal["missing", "failed", "disagrees"]
    reason: str


class Pair(BaseModel):
    """``name``'s median over ``against``'s: under 1 is faster."""

    name: str
    against: str
    ratio: float
    ci95: tuple[float, float]
    decided: bool = Field(description="the difference is more than noise")


class Verdict(BaseModel):
    """Who won."""

    fastest: str | None = None
    pairs: list[Pair] = Field(
        default_factory=list, description="each other engine over the fastest"
    )
    sentence: str


class Comparison(BaseModel):
    """One run of `tvmkd compare`."""

    schema_version: Literal[1] = 1
    tool: str
    created: str = Field(description="UTC, ISO 8601")
    model: Model
    context: Context
    method: Method
    budget: Budget | None = None
    engines: list[Engine]
    left_out: list[LeftOut] = Field(default_factory=list)
    verdict: Verdict
    warnings: list[str] = Field(default_factory=list)

    def engine(self, name: str) -> Engine | None:
        """The engine of that name, or None."""
        return next((engine for engine in self.engines if engine.name == name), None)

    def save(self, path: Path | str) -> None:
        """Writes the JSON in one step: a reader never sees half of it.

        Raises:
            InputError: the file cannot be written.
        """
        write_text(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Comparison:
        """Reads what `save` wrote.

        Raises:
            InputError: missing, not JSON, another schema version, or not a comparison.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
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
