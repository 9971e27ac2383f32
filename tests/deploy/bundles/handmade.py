"""Models and bundles that need no compiler: manifests in memory, files of a few letters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import minisign
import toy

from tvmkd import targets
from tvmkd.base.manifest import FileEntry, Manifest
from tvmkd.base.runtimes import STANDALONE
from tvmkd.deploy.bundles import archive, signing
from tvmkd.deploy.bundles.model import Model

FIELDS = {"format": "1", "name": "sample", "version": "1.1", "target": "jetson-nano"}
OTHERS = {
    "install.sh": b"#!/bin/sh\n",
    "sbom.cdx.json": b"{}\n",
    "manifest.json": b'{"name": "sample"}\n',
    "model.json": b'{"classes": null}\n',
    "bin/tvmkd-tool": b"a program",
    "bin/tvmkd-run": b"another one",
    "lib/libsample.so": bytes(range(256)) * 8,
}


def model(target: str = "jetson-nano", folder: Path = Path("/none"), **fields: Any) -> Model:
    """A model without files; ``fields`` replace its manifest's."""
    loaded = targets.load(target)
    entry = FileEntry(sha256="0" * 64, size=1)
    given: dict[str, Any] = {
        "name": "sample",
        "created": toy.CREATED,
        "tvmkd_version": "9.8.7",
        "target": loaded.to_dict(),
        "stack": "relax",
        "stack_version": "0.27.0",
        "runtime": STANDALONE,
        "onnx_sha256": "ab" * 32,
        "inputs": toy.INPUTS,
        "outputs": toy.OUTPUTS,
        "files": {"libsample.so": entry},
    }
    manifest = Manifest(**{**given, **fields})
    return Model(folder, manifest, loaded, folder / "libsample.so", None)


def content(key: minisign.SecretKey | None = None) -> dict[str, bytes]:
    """A bundle's files by path, signed by ``key``."""
    files = dict(OTHERS)
    files["BUNDLE"] = "".join(f"{name}={value}\n" for name, value in FIELDS.items()).encode()
    if key is not None:
        files["publisher.pub"] = signing.public_bytes(key.get_public_key())
    return signed(files, key)


def signed(files: Mapping[str, bytes], key: minisign.SecretKey | None) -> dict[str, bytes]:
    """The files with their checksums, and with the signature if there is a key."""
    sums = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())
    ).encode()
    found = {**files, "SHA256SUMS": sums}
    if key is not None:
        found["SHA256SUMS.minisig"] = signing.sign(key, sums, "sample 1.1 file:SHA256SUMS")
    return found


def write(path: Path, files: Mapping[str, bytes]) -> Path:
    """Writes the archive as it is, right or wrong."""
    archive.write(path, "sample-1.1", {name: archive.Entry(data) for name, data in files.items()})
    return path
