"""A ``manifest.json`` as pydantic models; `tvmkd.artifact` reads and writes it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tvmkd.base.runtimes import STANDALONE, TVM

SCHEMA_VERSION = 1

LIBRARY = "model.so"
"""The library's name in an artifact that needs TVM's runtime."""


class _Table(BaseModel):
    # The docstring below a field is its description in docs/reference/formats.md.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TensorSpec(_Table):
    """One input or output."""

    name: str
    """Name in the ONNX file."""
    shape: list[int | str]
    """Sizes; a string is the name of a free dimension."""
    dtype: str
    """A numpy dtype, such as ``float32``."""


class FileEntry(_Table):
    """One file of the artifact."""

    sha256: str
    """SHA-256 of the content, in hex."""
    size: int
    """Bytes."""


class Manifest(_Table):
    """The content of ``manifest.json``."""

    schema_version: int = SCHEMA_VERSION
    """1."""
    name: str
    """The model's name."""
    created: str
    """UTC, ISO 8601."""
    tvmkd_version: str
    """The tvmkd that built it."""
    target: dict[str, Any]
    """The target file's content."""
    stack: str
    """The compiler stack: ``relax`` or ``relay``."""
    stack_version: str
    """The compiler's version."""
    runtime: str = TVM
    """``tvm``: its library needs TVM's runtime. ``standalone``: it needs the C library only."""
    frames: dict[str, Any] = Field(default_factory=dict)
    """What the library does with frames (``--with-preprocessing``): ``task``, the largest frame,
    the input's size, the normalisation, ``classes``. Empty: nothing."""
    onnx_sha256: str
    """SHA-256 of the ONNX file that was compiled."""
    inputs: list[TensorSpec]
    """In the order of the compiled function."""
    outputs: list[TensorSpec]
    """In the order of the compiled function."""
    files: dict[str, FileEntry]
    """Every file of the folder except the manifest, by name."""
    coverage: dict[str, Any] = Field(default_factory=dict)
    """Which tasks are tuned, facts of the kernels, ``build_seconds``, and regions of other engines
    (``byoc``)."""
    records: list[dict[str, Any]] = Field(default_factory=list)
    """The records folders that were used: path, hash, number of records used, tuning time."""
    check: dict[str, Any] = Field(default_factory=dict)
    """The comparison with ONNX Runtime: samples, ``max_error``, ``tolerance``; or why there was
    none."""
    normalised: dict[str, Any] = Field(default_factory=dict)
    """What was done to the ONNX file before it was compiled (``steps``), and what was left out,
    with the reason (``left_out``). The result is ``normalised.onnx`` in the folder."""
    exits: dict[str, Any] = Field(default_factory=dict)
    """Early exits: the ``thresholds`` of all but the last, and the ``pieces``' ONNX files by their
    SHA-256; ``temperatures`` and ``weights`` where they are not those of `tvmkd.base.exits.Rule`
    without any. Empty without early exits."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """The ONNX file's ``metadata_props``."""

    @property
    def library(self) -> str:
        """The name of the shared library among the files."""
        if self.runtime != STANDALONE:
            return LIBRARY
        return next((name for name in self.files if name.endswith(".so")), LIBRARY)
