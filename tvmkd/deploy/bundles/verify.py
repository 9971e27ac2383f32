"""Checks a bundle before it is sent or used: checksums, signature, the files that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base.errors import InputError
from tvmkd.deploy.bundles import archive, bundle, signing

if TYPE_CHECKING:
    import minisign

MOST_BYTES = 16 << 30
REQUIRED = ("install.sh", "sbom.cdx.json", "manifest.json", "bin/tvmkd-tool", "bin/tvmkd-run")


@dataclass(frozen=True)
class Verified:
    """A bundle whose checksums are right.

    Attributes:
        fields: of ``BUNDLE``: name, version, architecture, target, ...
        key: the number of the key that signed it; None: it is not signed.
        pinned: the signature was checked with a key that the caller gave, not the bundle's own.
        files: bytes by path.
    """

    fields: Mapping[str, str]
    key: str | None
    pinned: bool
    files: Mapping[str, int]


def verify(path: Path, key: minisign.PublicKey | None = None) -> Verified:
    """Reads a bundle and checks all of it.

    Args:
        path: the ``.tar.gz``.
        key: the publisher's; None: the bundle's own key, which only shows that it is whole.

    Raises:
        InputError: it is no bundle, a byte was changed, a file is missing or was added, it is not
            signed though ``key`` is given, or another key signed it.
    """
    wanted = (bundle.DESCRIPTION, bundle.SUMS, bundle.SIGNATURE, bundle.KEY)
    _, files = archive.read(path, MOST_BYTES, keep=wanted)
    missing = [name for name in (bundle.DESCRIPTION, bundle.SUMS, *REQUIRED) if name not in files]
    if missing:
        raise InputError(f"{path}: is no bundle of tvmkd: it has no {missing[0]}")
    sums = files.pop(bundle.SUMS).data
    signature = files.pop(bundle.SIGNATURE, None)
    listed = archive.parse_sums(sums.decode("utf-8", "replace"), str(path))
    for name, member in files.items():
        if name not in listed:
            raise InputError(f"{path}: {name} is not in its checksums, so it was added")
        if member.sha256 != listed[name]:
            raise InputError(f"{path}: {name} does not have its checksum: it was changed")
    if gone := sorted(listed.keys() - files.keys()):
        raise InputError(f"{path}: {gone[0]} is missing")
    own = key is None
    number = None
    if signature is not None:
        key = key if key is not None else _own_key(path, files)
        signing.verify(key, sums, signature.data, str(path))
        number = signing.key_id(key)
    elif key is not None:
        raise InputError(f"{path}: is not signed; make it with --sign KEYFILE")
    return Verified(
        _fields(files[bundle.DESCRIPTION].data),
        number,
        number is not None and not own,
        {name: member.size for name, member in sorted(files.items())},
    )


def _own_key(path: Path, files: Mapping[str, archive.Member]) -> minisign.PublicKey:
    library = signing.package()
    try:
        key: minisign.PublicKey = library.PublicKey.from_bytes(files[bundle.KEY].data)
    except (KeyError, library.Error, ValueError):
        raise InputError(f"{path}: is signed, and holds no {bundle.KEY}") from None
    return key


def _fields(data: bytes) -> dict[str, str]:
    lines = data.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
