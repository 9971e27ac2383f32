"""The layout by OCI's specification; test_image.py gives images to skopeo and umoci."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.deploy.bundles.archive import EXECUTABLE, Entry
from tvmkd.deploy.images import oci

CREATED = "2026-11-29T06:00:00+00:00"
ABOUT = {"version": "1.2.0", "title": "sample"}
LABELS = {
    "org.opencontainers.image.title": "sample",
    "org.opencontainers.image.version": "1.2.0",
}


def _image(architecture: str = "arm64", variant: str | None = "v8") -> oci.Image:
    files = {"server": Entry(b"program of " + architecture.encode(), EXECUTABLE)}
    return oci.Image(architecture, files, {"User": "1:1", "Entrypoint": ["/server"]}, variant)


def _written(path: Path, *images: oci.Image) -> dict[str, bytes]:
    oci.write(path, images, "sample:1.2.0", CREATED, ABOUT)
    with tarfile.open(path) as archive:
        streams = {member.name: archive.extractfile(member) for member in archive if member.isreg()}
        return {name: stream.read() for name, stream in streams.items() if stream}


def _follow(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """The blob of a descriptor, whose digest and size are checked."""
    kind, _, digest = descriptor["digest"].partition(":")
    data = files[f"blobs/{kind}/{digest}"]
    assert hashlib.new(kind, data).hexdigest() == digest
    assert len(data) == descriptor["size"]
    return data


def test_one_image(tmp_path: Path) -> None:
    files = _written(tmp_path / "x.tar", _image())
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    (top,) = index["manifests"]
    assert top["annotations"] == {
        "org.opencontainers.image.ref.name": "1.2.0",
        "io.containerd.image.name": "docker.io/library/sample:1.2.0",
    }
    assert top["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    assert top["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    manifest = json.loads(_follow(files, top))
    assert (manifest["schemaVersion"], manifest["mediaType"]) == (2, top["mediaType"])
    assert manifest["annotations"] == LABELS
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    config = json.loads(_follow(files, manifest["config"]))
    assert (config["architecture"], config["os"], config["variant"]) == ("arm64", "linux", "v8")
    assert config["config"] == {"User": "1:1", "Entrypoint": ["/server"], "Labels": LABELS}
    assert config["created"] == CREATED
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    plain = gzip.decompress(_follow(files, layer))
    # The configuration names what is unpacked, the manifest what is packed.
    assert config["rootfs"] == {
        "type": "layers",
        "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"],
    }
    assert len(config["history"]) == 1
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        (member,) = archive
        assert (member.name, member.mode, member.uid, member.mtime) == ("server", 0o755, 0, 0)
    assert len(files) == 2 + 3, "no blob that nothing leads to"


def test_two_architectures_have_an_index_between(tmp_path: Path) -> None:
    files = _written(tmp_path / "x.tar", _image(), _image("amd64", None))
    (top,) = json.loads(files["index.json"])["manifests"]
    assert top["mediaType"] == "application/vnd.oci.image.index.v1+json"
    inner = json.loads(_follow(files, top))
    assert (inner["schemaVersion"], inner["annotations"]) == (2, LABELS)
    assert [each["platform"] for each in inner["manifests"]] == [
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
        {"architecture": "amd64", "os": "linux"},
    ]
    for each in inner["manifests"]:
        manifest = json.loads(_follow(files, each))
        config = json.loads(_follow(files, manifest["config"]))
        assert config["architecture"] == each["platform"]["architecture"]
        plain = gzip.decompress(_follow(files, manifest["layers"][0]))
        assert b"program of " + config["architecture"].encode() in plain
    assert len(files) == 2 + 1 + 2 * 3


def test_a_blob_that_two_images_share_is_there_once(tmp_path: Path) -> None:
    one = _image()
    other = oci.Image("amd64", one.files, one.config)
    files = _written(tmp_path / "x.tar", one, other)
    layers = [data for name, data in files.items() if data[:2] == b"\x1f\x8b"]
    assert len(layers) == 1


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "server").write_bytes(b"program of arm64")
    given = []
    for at, seconds in enumerate((1_000, 2_000_000_000)):
        os.utime(tmp_path / "server", (seconds, seconds))
        (tmp_path / "server").chmod((0o700, 0o644)[at])
        image = oci.Image(
            "arm64",
            {"server": Entry(tmp_path / "server", EXECUTABLE)},
            _image().config,
            "v8",
        )
        about = dict(sorted(ABOUT.items(), reverse=bool(at)))
        out = tmp_path / f"{at}.tar"
        oci.write(out, [image], "sample:1.2.0", CREATED, about)
        given.append(out.read_bytes())
    assert given[0] == given[1]
    # Nor has the packed layer the time at which it was packed.
    found = _written(tmp_path / "again.tar", _image())
    (layer,) = [data for data in found.values() if data[:2] == b"\x1f\x8b"]
    assert layer[4:8] == bytes(4)
    # Bytes in memory are written as those of a file are.
    _written(tmp_path / "memory.tar", _image())
    assert (tmp_path / "memory.tar").read_bytes() == given[0]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file/x\.tar"):
        _written(tmp_path / "file/x.tar", _image())
    broken = oci.Image("arm64", {"server": Entry(tmp_path / "none")}, {})
    with pytest.raises(FileNotFoundError, match="none"):
        _written(tmp_path / "y.tar", broken)
    assert sorted(os.listdir(tmp_path)) == ["file"], "nothing is left half-written"
