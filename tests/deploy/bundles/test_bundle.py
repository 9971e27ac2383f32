from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import learner_heads
import numpy as np
import pytest
import toy

from tvmkd import artifact, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.board_learner import head_file
from tvmkd.deploy.bundles import bundle, signing


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


def test_a_head_that_learns(artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    made = learner_heads.head()
    made.model = bytes.fromhex(artifact.read(artifacts[1]).onnx_sha256)
    head = tmp_path / "head.bin"
    head_file.write_head(str(head), made)
    path = toy.make(artifacts[1], tmp_path / "a-1.tar.gz", bundle.Options(learn=head)).path
    content = _content(path)
    assert content["learn/head.bin"] == head.read_bytes()
    assert b"class Learner" in content["bin/tvmkd_learner.py"]
    assert "learn/head.bin" in content["SHA256SUMS"].decode()
    with pytest.raises(InputError, match=r"head\.bin: belongs to another library"):
        toy.make(artifacts[2], tmp_path / "b-1.tar.gz", bundle.Options(learn=head))
    head.write_bytes(head.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"head\.bin: is damaged"):
        toy.make(artifacts[1], tmp_path / "b-1.tar.gz", bundle.Options(learn=head))


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


def test_the_bill_of_materials_lists_what_is_shipped(bundles: Mapping[str, Path]) -> None:
    content = _content(bundles["1.1"])
    bill = json.loads(content["sbom.cdx.json"])
    assert bill["metadata"]["component"]["version"] == "1.1"
    shipped = {part["name"]: part for part in bill["components"] if part["bom-ref"][:5] == "file:"}
    assert set(shipped) == set(content) - {"sbom.cdx.json", "SHA256SUMS", "SHA256SUMS.minisig"}
    sums = dict(reversed(line.split("  ")) for line in content["SHA256SUMS"].decode().splitlines())
    for name, part in shipped.items():
        assert part["hashes"][0]["content"] == sums[name]
    assert shipped["bin/tvmkd-run"]["type"] == "application"
    assert shipped["lib/libsample.so"]["type"] == "library"
    assert shipped["install.sh"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert "licenses" not in shipped["model.json"], "nobody said"


def test_a_library_that_is_wrong_is_not_shipped(tmp_path: Path) -> None:
    wrong = toy.artifact_folder(tmp_path / "w", targets.load("host"), wrong=True)
    with pytest.raises(InputError, match=r"does not pass its own self-test.*output y differs"):
        toy.make(wrong, tmp_path / "w-1.tar.gz")
    assert not (tmp_path / "w-1.tar.gz").exists()


def test_power_modes(artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--power max: .* has no \[power\] table"):
        toy.make(artifacts[1], tmp_path / "a-1.tar.gz", bundle.Options(power="max"))
