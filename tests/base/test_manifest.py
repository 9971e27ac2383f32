from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tvmkd.base.manifest import SCHEMA_VERSION, FileEntry, Manifest, TensorSpec

LEAST: dict[str, Any] = {
    "name": "student",
    "created": "2026-11-23T12:00:00+00:00",
    "tvmkd_version": "0.1.0",
    "target": {"name": "nano"},
    "stack": "relax",
    "stack_version": "0.27.0",
    "onnx_sha256": "ab" * 32,
    "inputs": [{"name": "x", "shape": ["batch", 4], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [1], "dtype": "int64"}],
    "files": {"model.so": {"sha256": "cd" * 32, "size": 9}},
}


def test_what_an_artifact_may_leave_out_is_empty() -> None:
    made = Manifest.model_validate(LEAST)
    assert made.schema_version == SCHEMA_VERSION == 1
    assert (made.coverage, made.records, made.check, made.metadata) == ({}, [], {}, {})
    assert made.inputs == [TensorSpec(name="x", shape=["batch", 4], dtype="float32")]
    assert made.outputs == [TensorSpec(name="y", shape=[1], dtype="int64")]
    assert made.files == {"model.so": FileEntry(sha256="cd" * 32, size=9)}


def test_a_manifest_survives_being_written() -> None:
    made = Manifest.model_validate({**LEAST, "metadata": {"author": "me"}, "check": {"samples": 8}})
    assert Manifest.model_validate(json.loads(made.model_dump_json())) == made


@pytest.mark.parametrize("name", sorted(LEAST))
def test_everything_else_must_be_there(name: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s)1 validation error.*{name}.*Field required"):
        Manifest.model_validate({key: value for key, value in LEAST.items() if key != name})


@pytest.mark.parametrize(
    "changed",
    [
        {"other": 1},
        {"inputs": [{**LEAST["inputs"][0], "other": 1}]},
        {"files": {"model.so": {"sha256": "cd", "size": 9, "other": 1}}},
    ],
)
def test_an_unknown_field_is_an_error(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Manifest.model_validate({**LEAST, **changed})


def test_a_manifest_cannot_be_changed() -> None:
    made = Manifest.model_validate(LEAST)
    with pytest.raises(ValidationError, match="frozen"):
        made.stack = "relay"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        made.inputs[0].dtype = "int8"  # type: ignore[misc]
