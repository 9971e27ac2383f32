from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from tvmkd import targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.bundles import bundle, signing
from tvmkd.deploy.bundles.verify import verify


def _key(keys: Path, name: str = "ours") -> bundle.Options:
    return bundle.Options(key=signing.secret_key(keys / f"{name}.key", lambda _: ""))


def _content(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {member.name: archive.extractfile(member) for member in archive if member.isreg()}
        return {name.split("/", 1)[1]: stream.read() for name, stream in found.items() if stream}


def test_the_same_artifact_gives_the_same_bytes(
    artifacts: Mapping[int, Path], bundles: Mapping[str, Path], keys: Path, tmp_path: Path
) -> None:
    again = toy.make(artifacts[1], tmp_path / "sample-1.1.tar.gz", _key(keys)).path
    assert again.read_bytes() == bundles["1.1"].read_bytes()


def test_what_a_bundle_holds(bundles: Mapping[str, Path], artifacts: Mapping[int, Path]) -> None:
    with tarfile.open(bundles["1.1"]) as archive:
        members = {member.name: member for member in archive}
    assert {name.split("/")[0] for name in members} == {"sample-1.1"}
    programs = ("tvmkd-run", "tvmkd-server", "tvmkd-stream", "tvmkd-tool", "serve.py")
    for name in (*(f"bin/{each}" for each in programs), "install.sh"):
        assert members[f"sample-1.1/{name}"].mode == 0o755
    content = _content(bundles["1.1"])
    assert content["lib/libsample.so"] == (artifacts[1] / "libsample.so").read_bytes()
    fields = dict(line.split("=", 1) for line in content["BUNDLE"].decode().splitlines())
    assert fields["library"] == "lib/libsample.so"
    assert float(fields["tolerance"]) == 1e-3
    assert fields["recorded_with"].startswith("onnxruntime ")
    card = json.loads(content["model.json"])
    assert [spec["name"] for spec in card["outputs"]] == ["y", "total"]
    assert "power.sh" not in content
    # The recorded outputs are what the ONNX file says.
    stored = tmp = {}
    for name in ("inputs/x", "outputs/y", "inputs/counts", "outputs/total"):
        tmp[name] = np.frombuffer(
            content[f"self-test/{name}.npy"][128:], "<f4" if name[-1] in "xy" else "<i8"
        )
    np.testing.assert_allclose(stored["outputs/y"], 2 * stored["inputs/x"] + 1, rtol=1e-6)
    assert stored["outputs/total"] == stored["inputs/counts"].sum()


def test_given_inputs_classes_and_licence(artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    inputs, classes = tmp_path / "in.npz", tmp_path / "names.txt"
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    np.savez(inputs, x=x, counts=np.arange(6, dtype=np.int64))
    classes.write_text("cat\nwild dog\n\n")
    options = bundle.Options(inputs=inputs, classes=classes, license="MIT")
    content = _content(toy.make(artifacts[1], tmp_path / "a-2.tar.gz", options).path)
    assert content["self-test/inputs/x.npy"][-16:] == x[0].tobytes()
    assert content["classes.txt"] == b"cat\nwild dog\n"
    assert json.loads(content["model.json"])["classes"] == ["cat", "wild dog"]
    bill = json.loads(content["sbom.cdx.json"])
    by_name = {part["name"]: part for part in bill["components"]}
    assert by_name["lib/libsample.so"]["licenses"] == [{"license": {"id": "MIT"}}]


def test_the_bill_of_materials_is_valid(bundles: Mapping[str, Path]) -> None:
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
    content = _content(bundles["1.1"])
    bill = json.loads(content["sbom.cdx.json"])
    assert [error.message for error in validator.iter_errors(bill)] == []
    assert (bill["specVersion"], bill["metadata"]["component"]["version"]) == ("1.6", "1.1")
    shipped = {part["name"] for part in bill["components"] if part["bom-ref"].startswith("file:")}
    assert shipped == set(content) - {"sbom.cdx.json", "SHA256SUMS", "SHA256SUMS.minisig"}
    sums = dict(reversed(line.split("  ")) for line in content["SHA256SUMS"].decode().splitlines())
    for part in bill["components"]:
        if part["bom-ref"].startswith("file:"):
            assert part["hashes"][0]["content"] == sums[part["name"]]
    tools = {tool["name"]: tool.get("version") for tool in bill["metadata"]["tools"]["components"]}
    assert tools["apache-tvm"] == "0.27.0"
    assert {"tvmkd", "LLVM", "zig"} <= set(tools)


def test_a_library_that_is_wrong_is_not_shipped(tmp_path: Path) -> None:
    wrong = toy.artifact_folder(tmp_path / "w", targets.load("host"), wrong=True)
    with pytest.raises(InputError, match=r"does not pass its own self-test.*output y differs"):
        toy.make(wrong, tmp_path / "w-1.tar.gz")
    assert not (tmp_path / "w-1.tar.gz").exists()


def test_without_an_onnx_file(
    artifacts: Mapping[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library records itself if the build compared it, and not otherwise."""
    folder = tmp_path / "artifact"
    toy.artifact_folder(folder, targets.load("host"))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["normalised.onnx"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"was not compared .* give the ONNX file"):
        toy.make(folder, tmp_path / "a-1.tar.gz")
    onnx = folder / "normalised.onnx"
    made = toy.make(folder, tmp_path / "a-1.tar.gz", bundle.Options(onnx=onnx))
    assert b"recorded_with=onnxruntime" in _content(made.path)["BUNDLE"]
    other = toy.onnx_file(tmp_path / "other.onnx", 2)
    with pytest.raises(InputError, match="is not the file"):
        toy.make(folder, tmp_path / "b-1.tar.gz", bundle.Options(onnx=other))
    manifest["check"]["max_error"] = 1e-7
    (folder / "manifest.json").write_text(json.dumps(manifest))
    made = toy.make(folder, tmp_path / "a-1.tar.gz")
    assert b"recorded_with=the library itself" in _content(made.path)["BUNDLE"]


def test_power_modes(artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--power max: .* has no \[power\] table"):
        toy.make(artifacts[1], tmp_path / "a-1.tar.gz", bundle.Options(power="max"))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("model.json", b"{}", "model.json does not have its checksum: it was changed"),
        ("extra", b"x", "extra is not in its checksums, so it was added"),
        ("model.json", None, "model.json is missing"),
        ("BUNDLE", None, "is no bundle of tvmkd: it has no BUNDLE"),
        ("SHA256SUMS", b"nonsense", "its checksums are damaged"),
        ("SHA256SUMS.minisig", b"nonsense", "the signature is not right"),
        ("SHA256SUMS.minisig", None, "is not signed"),
    ],
)
def test_what_verify_refuses(
    bundles: Mapping[str, Path],
    keys: Path,
    tmp_path: Path,
    name: str,
    data: bytes | None,
    says: str,
) -> None:
    content = _content(bundles["1.1"])
    content.pop(name, None)
    if data is not None:
        content[name] = data
    from tvmkd.deploy.bundles.archive import Entry, write

    changed = tmp_path / "changed.tar.gz"
    write(changed, "sample-1.1", {key: Entry(value) for key, value in content.items()})
    with pytest.raises(InputError, match=says):
        verify(changed, signing.public_key(keys / "ours.pub"))


def test_verify(bundles: Mapping[str, Path], keys: Path, tmp_path: Path) -> None:
    ours = signing.public_key(keys / "ours.pub")
    found = verify(bundles["1.1"], ours)
    assert (found.key, found.pinned) == (signing.key_id(ours), True)
    found = verify(bundles["1.1"])
    assert (found.key, found.pinned) == (signing.key_id(ours), False)
    assert verify(bundles["unsigned"]).key is None
    with pytest.raises(InputError, match="the signature is not right: incompatible key"):
        verify(bundles["theirs"], ours)
    data = bytearray(bundles["1.1"].read_bytes())
    for at in (5_000, len(data) // 2, len(data) - 40):
        flipped = data.copy()
        flipped[at] ^= 0x10
        (tmp_path / "x.tar.gz").write_bytes(flipped)
        with pytest.raises(InputError, match=r"x\.tar\.gz: "):
            verify(tmp_path / "x.tar.gz", ours)
    for content, says in ((bytes(data[:9000]), "cut short"), (b"x", "no .tar.gz")):
        (tmp_path / "x.tar.gz").write_bytes(content)
        with pytest.raises(InputError, match=says):
            verify(tmp_path / "x.tar.gz")
    with pytest.raises(InputError, match="there is no such bundle"):
        verify(tmp_path / "none.tar.gz")
