"""What a ``manifest.json`` holds, as pydantic models; `tvmkd.artifact` reads and writes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1


class TensorSpec(BaseModel):
    """One input or output: its name, its shape (a string is a free dimension) and numpy dtype."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    shape: list[int | str]
    dtype: str


class FileEntry(BaseModel):
    """One file of the artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int


class Manifest(BaseModel):
    """What ``manifest.json`` holds.

    Attributes:
        schema_version: 1.
        name: the model's name.
        created: UTC, ISO 8601.
        tvmkd_version: of the tvmkd that built it.
        target: a `Target` as plain data.
        stack: the compiler stack, ``relax`` or ``relay``.
        stack_version: the compiler's version.
        onnx_sha256: of the model that was compiled.
        inputs, outputs: in the order of the compiled function.
        files: every file of the folder but the manifest.
        coverage: which tasks run tuned.
        records: the record folders that were used, with their hashes.
        check: the numeric comparison with ONNX Runtime that the build passed.
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
