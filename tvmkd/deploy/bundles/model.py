"""The standalone artifact that a bundle or an image is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tvmkd import artifact
from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.manifest import Manifest
from tvmkd.base.runtimes import STANDALONE
from tvmkd.targets import Target

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""Names and versions that install.sh accepts (its ``plain``): they become folders on the board."""
RESERVED = ("bin", "trust")

_VERSIONED = re.compile(r"(?P<name>.+?)-v?(?P<version>\d[A-Za-z0-9._+-]*)")


@dataclass(frozen=True)
class Model:
    """A standalone artifact.

    Attributes:
        folder: the artifact.
        manifest: its manifest.
        target: what it was built for.
        library: ``lib<name>.so``.
        archive: ``lib<name>.a``; None: the artifact has none.
    """

    folder: Path
    manifest: Manifest
    target: Target
    library: Path
    archive: Path | None


def read(folder: Path) -> Model:
    """Reads and verifies an artifact.

    Raises:
        InputError: it is none, is damaged, or needs TVM's runtime.
    """
    manifest = artifact.read(folder)
    if manifest.runtime != STANDALONE:
        raise InputError(
            f"{folder}: needs TVM's runtime, so it cannot be deployed alone; build it with: "
            f"tvmkd build MODEL.onnx --target {manifest.target.get('name')} --runtime standalone"
        )
    archive = manifest.library.removesuffix(".so") + ".a"
    return Model(
        folder,
        manifest,
        Target.from_dict(manifest.target, where=f"{folder / artifact.MANIFEST}: target"),
        folder / manifest.library,
        folder / archive if archive in manifest.files else None,
    )


def time_of_build(model: Model) -> str:
    """A version for an artifact that has none: ``2026.11.29.06.28.00``."""
    return ".".join(re.findall(r"\d{2,4}", model.manifest.created)[:6])


def name_and_version(
    model: Model, output: Path, suffix: str, name: str | None, version: str | None
) -> tuple[str, str]:
    """The name and the version: as given, else from the output's file name, else the model's.

    Args:
        model: its manifest's name and its ONNX file's ``version`` are the last resort.
        output: such as ``student-1.2.0.tar.gz``.
        suffix: of ``output``, ``.tar.gz``.
        name, version: as given on the command line.

    Raises:
        UsageError: ``output`` has another suffix, there is no version, or one of the two could not
            be a folder's name on a board.
    """
    if not output.name.endswith(suffix):
        raise UsageError(f"{output}: is written as {suffix}; give it a name that ends so")
    found = _VERSIONED.fullmatch(output.name.removesuffix(suffix))
    if name is None:
        name = found["name"] if found else re.sub(r"[^A-Za-z0-9._+-]", "-", model.manifest.name)
    if version is None:
        version = found["version"] if found else model.manifest.metadata.get("version")
    if version is None:
        raise UsageError(
            f"{output}: no version; give --version, or name the file such as {name}-1.0.0{suffix}"
        )
    for what, text in (("name", name), ("version", version)):
        if not PLAIN.fullmatch(text) or text in RESERVED:
            raise UsageError(
                f"--{what} {text}: becomes a folder on the board; give letters, digits and "
                f". _ + -, none of {', '.join(RESERVED)}"
            )
    return name, version
