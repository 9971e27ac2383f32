"""The content of ``manifest.json`` as pydantic models; `tvmkd.artifact` reads and writes it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1


class TensorSpec(BaseModel):
    """One input or output: name, shape (a string is a free dimension) and numpy dtype."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    shape: list[int | str]
    dtype: str


class FileEntry(BaseModel):
    """One file of the artifact, with its SHA-256 and its size in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int


class Manifest(BaseModel):
    """The content of ``manifest.json``.

    Attributes:
        schema_version: 1.
        name: the model's name.
        created: time of the build, UTC, ISO 8601.
        tvmkd_version: version of tvmkd that built the artifact.
        target: ``Target.to_dict()``.
        stack: the compiler stack, ``relax`` or ``relay``.
        stack_version: the compiler's version.
        onnx_sha256: SHA-256 of the compiled ONNX model.
        inputs, outputs: in the order of the compiled function.
        files: every file of the folder except the manifest, by name.
        coverage: which tasks have a tuned schedule.
        records: the tuning records that were used, with their hashes.
        check: result of the numeric comparison with ONNX Runtime.
        metadata: the ONNX file's ``metadata_props``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    name: str
    created: str
    tvmkd_version: str
    target: dict[str, Any]
    stack: str
    stack_version: str
    onnx_sha256: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    files: dict[str, FileEntry]
    coverage: dict[str, Any] = Field(default_factory=dict)
    records: list[dict[str, Any]] = Field(default_factory=list)
    check: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)
