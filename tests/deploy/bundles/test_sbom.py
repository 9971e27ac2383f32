"""The bill of materials, held against CycloneDX's own schema."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import handmade
import pytest

from tvmkd.base.errors import MissingError, UsageError
from tvmkd.base.version import __version__
from tvmkd.deploy.bundles.sbom import Part, text

PARTS = [
    Part("lib/libsample.so", "1" * 64, "the model", "library", "MIT", ("zig",)),
    Part("bin/tvmkd-run", "2" * 64, "runs it", "application", "Apache-2.0", ("zig",)),
    Part("model.json", "3" * 64),
]


def _bill(parts: list[Part] = PARTS, license_id: str | None = None, **fields: Any) -> Any:
    return json.loads(text(handmade.model(**fields), "student", "1.2", parts, license_id))


def _by_ref(bill: Any) -> dict[str, Any]:
    return {part["bom-ref"]: part for part in bill["components"]}


@pytest.mark.parametrize(
    "license_id", [None, "MIT", "MIT OR Apache-2.0", "LicenseRef-ours", "MIT AND LicenseRef-ours"]
)
def test_it_is_valid(license_id: str | None) -> None:
    schemas = pytest.importorskip("jsonschema_rs")
    import cyclonedx.schema

    folder = Path(cyclonedx.schema.__file__).parent / "_res"

    def schema(name: str) -> Any:
        return json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())

    others = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schema(name))
        for name in ("spdx", "jsf-0.82")
    ]
    validator = schemas.validator_for(schema("bom-1.6"), registry=schemas.Registry(others))
    bill = _bill(license_id=license_id)
    assert [error.message for error in validator.iter_errors(bill)] == []
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    said = _by_ref(bill)["model"].get("licenses", [])
    if license_id is not None:
        assert said in ([{"license": {"id": license_id}}], [{"expression": license_id}])
    # The schema is not asleep.
    assert not validator.is_valid({**bill, "components": [{"name": "x", "type": "nonsense"}]})


def test_what_is_shipped_with_its_hash_and_licence() -> None:
    bill = _bill(license_id="BSD-3-Clause")
    assert bill["metadata"]["component"]["name"] == "student"
    assert bill["metadata"]["component"]["version"] == "1.2"
    assert bill["metadata"]["timestamp"].startswith("2026-11-29T06:00:00")
    found = _by_ref(bill)
    assert set(found) == {"model", "linked:zig", *(f"file:{part.path}" for part in PARTS)}
    for part in PARTS:
        shipped = found[f"file:{part.path}"]
        assert (shipped["name"], shipped["type"]) == (part.path, part.kind)
        assert shipped["hashes"] == [{"alg": "SHA-256", "content": part.sha256}]
        wanted = [] if part.license is None else [{"license": {"id": part.license}}]
        assert shipped.get("licenses", []) == wanted
        assert shipped.get("version") == (__version__ if part.kind == "application" else None)
    model = found["model"]
    assert (model["name"], model["type"]) == ("sample", "machine-learning-model")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert model["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert found["linked:zig"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert found["linked:zig"]["version"] == importlib.metadata.version("ziglang")


def test_what_depends_on_what() -> None:
    depends = {each["ref"]: set(each.get("dependsOn", ())) for each in _bill()["dependencies"]}
    assert depends["bundle"] == {"model", *(f"file:{part.path}" for part in PARTS)}
    assert depends["file:lib/libsample.so"] == {"linked:zig", "model"}
    assert depends["file:bin/tvmkd-run"] == {"linked:zig"}
    assert depends["file:model.json"] == set()
    # What is not linked in is not listed.
    assert "linked:zig" not in _by_ref(_bill(PARTS[2:]))


@pytest.mark.parametrize(
    ("stack", "compiler"), [("relax", "apache-tvm"), ("relay", "tvm (relay)"), ("own", "tvm (own)")]
)
def test_what_it_was_made_with(stack: str, compiler: str) -> None:
    bill = _bill(stack=stack, stack_version="0.27.0")
    tools = {each["name"]: each for each in bill["metadata"]["tools"]["components"]}
    assert set(tools) == {"tvmkd", compiler, "LLVM", "zig"}
    assert (tools[compiler]["version"], tools["tvmkd"]["version"]) == ("0.27.0", "9.8.7")
    (llvm,) = tools["LLVM"]["licenses"]
    assert "Apache-2.0 WITH LLVM-exception" in (llvm.get("expression"), llvm.get("license"))


def test_the_same_content_gives_the_same_text() -> None:
    model = handmade.model()
    first = text(model, "a", "1", PARTS)
    assert text(model, "a", "1", PARTS[::-1]) == first
    assert first.endswith("}\n")
    number = json.loads(first)["serialNumber"]
    assert number.startswith("urn:uuid:")
    changed = [*PARTS[:2], Part("model.json", "4" * 64)]
    others = [
        text(model, "b", "1", PARTS),
        text(model, "a", "2", PARTS),
        text(model, "a", "1", changed),
        text(model, "a", "1", PARTS, "MIT"),
        text(handmade.model(stack_version="0.28.0"), "a", "1", PARTS),
        text(handmade.model(created="2026-11-30T06:00:00+00:00"), "a", "1", PARTS),
    ]
    numbers = {number, *(json.loads(each)["serialNumber"] for each in others)}
    assert len(numbers) == 1 + len(others), "another bill, another number"


@pytest.mark.parametrize(
    "given", ["mine", "Apache 2", "", " ", "MIT AND", "LicenseRef-", "MIT LicenseRef-a"]
)
def test_what_is_no_licence(given: str) -> None:
    with pytest.raises(UsageError, match=f"--license {given}: is no SPDX expression"):
        _bill(license_id=given)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedx", None)
    with pytest.raises(MissingError, match=r"pip install 'tvmkd\[deploy\]'"):
        _bill()
