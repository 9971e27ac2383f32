"""Writes images in the OCI layout (github.com/opencontainers/image-spec, v1.1) as one tar file.

The same content gives the same bytes. What reads it: ``skopeo``, ``podman``, ``docker load``,
``ctr image import``, ``umoci``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.base.files import draft
from tvmkd.deploy.bundles.archive import Entry, add_all

TYPES = "application/vnd.oci.image."
INDEX, MANIFEST = f"{TYPES}index.v1+json", f"{TYPES}manifest.v1+json"
CONFIG, LAYER = f"{TYPES}config.v1+json", f"{TYPES}layer.v1.tar+gzip"
ANNOTATION = "org.opencontainers.image."

Descriptor = dict[str, Any]


@dataclass(frozen=True)
class Image:
    """One image for one architecture, with one layer.

    Attributes:
        architecture: Go's name, ``arm64`` or ``amd64``.
        files: its root file system.
        config: what its ``config`` object holds: ``Entrypoint``, ``User``, ...
        variant: of the architecture, such as ``v8``.
    """

    architecture: str
    files: Mapping[str, Entry]
    config: Mapping[str, Any]
    variant: str | None = None


@dataclass
class Layout:
    """The blobs of a layout."""

    blobs: dict[str, bytes] = field(default_factory=dict)

    def add(self, media_type: str, data: bytes, **more: Any) -> Descriptor:
        """Stores a blob; returns its descriptor with ``more`` in it."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def add_json(self, media_type: str, value: Any, **more: Any) -> Descriptor:
        """Stores a value as JSON."""
        return self.add(media_type, _json(value), **more)


def write(
    path: Path, images: Sequence[Image], tag: str, created: str, about: Mapping[str, str]
) -> None:
    """Writes the layout.

    Args:
        path: the ``.tar`` to write.
        images: one for each architecture.
        tag: ``name:version``.
        created: RFC 3339.
        about: annotations without their prefix ``org.opencontainers.image.``.

    Raises:
        InputError: it cannot be written.
    """
    layout = Layout()
    annotations = {f"{ANNOTATION}{key}": value for key, value in sorted(about.items())}
    found = [_add(layout, image, created, annotations) for image in images]
    name, _, version = tag.partition(":")
    top = found[0]
    if len(found) > 1:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
        top = layout.add_json(INDEX, {**index, "annotations": annotations})
    # The second name is containerd's and Docker's.
    named = {
        f"{ANNOTATION}ref.name": version,
        "io.containerd.image.name": f"docker.io/library/{name}:{version}",
    }
    root = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**top, "annotations": named}]}
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json(root),
        **layout.blobs,
    }
    with draft(path) as written, written.open("wb") as stream:
        add_all(stream, "", {name: Entry(data) for name, data in files.items()})


def _add(layout: Layout, image: Image, created: str, annotations: Mapping[str, str]) -> Descriptor:
    plain = io.BytesIO()
    add_all(plain, "", image.files)
    packed = gzip.compress(plain.getvalue(), 6, mtime=0)
    layer = layout.add(LAYER, packed)
    platform = {"architecture": image.architecture, "os": "linux"}
    if image.variant is not None:
        platform["variant"] = image.variant
    config = layout.add_json(
        CONFIG,
        {
            "created": created,
            **platform,
            "config": {**image.config, "Labels": dict(annotations)},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(plain.getvalue()).hexdigest()}"],
            },
            "history": [{"created": created, "created_by": "tvmkd deploy image"}],
        },
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": dict(annotations),
    }
    return layout.add_json(MANIFEST, manifest, platform=platform)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
