"""Where models come from: artifacts, folders of versions, and folders of models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from tvmkd import artifact
from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.serving import tensors

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a name or a version may be: it is part of a URL and of a label."""

JSON_BYTES = 26
"""Of a value: 17 digits, sign, point, exponent, comma and space."""
LEAST_BODY, FREE_BODY = 2**20, 2**26


@dataclass(frozen=True)
class Source:
    """A model on disk.

    Attributes:
        name: what clients call it.
        folder: an artifact, or a folder whose subfolders are artifacts, one a version.
    """

    name: str
    folder: Path

    def versions(self) -> dict[str, Path]:
        """The artifact of each version, the newest last. A lone artifact is version 1.

        Raises:
            InputError: there is none.
        """
        if _is_artifact(self.folder):
            return {"1": self.folder}
        found = {
            path.name: path
            for path in _subfolders(self.folder)
            if _NAME.fullmatch(path.name) and _is_artifact(path)
        }
        if not found:
            raise InputError(f"{self.folder}: there is no artifact any more; build it again")
        return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def find(paths: Sequence[Path], names: Sequence[str]) -> dict[str, Source]:
    """The models in some folders, by name.

    Args:
        paths: artifacts; folders of versions (``1.0/``, ``1.1/``); folders of such folders.
        names: for the first paths, in order; the others are called as their manifests say, or as
            their folders.

    Raises:
        InputError: a path holds no artifact.
        UsageError: two models have one name, or there are more names than paths.
    """
    if len(names) > len(paths):
        raise UsageError(f"{len(names)} names for {len(paths)} folders; give --name once for each")
    found: dict[str, Source] = {}
    for number, path in enumerate(paths):
        given = names[number] if number < len(names) else None
        for source in _sources(path, given):
            if not _NAME.fullmatch(source.name):
                raise UsageError(
                    f"{source.folder}: the name {source.name!r} cannot be part of a URL; give "
                    "another one with --name (letters, digits, dots, dashes and underscores)"
                )
            if source.name in found:
                raise UsageError(
                    f"{source.folder} and {found[source.name].folder} are both called "
                    f"{source.name!r}; give other names with --name"
                )
            found[source.name] = source
    return found


def body_limit(sources: Iterable[Source]) -> int:
    """Bytes that a request for any of these models may need: its inputs written as JSON.

    Raises:
        InputError: an artifact cannot be read.
    """
    most = LEAST_BODY
    for source in sources:
        folder = list(source.versions().values())[-1]
        manifest = artifact.read(folder, verify=False)
        inputs = tensors.tensors(manifest.inputs, str(folder))
        if not all(tensor.fixed for tensor in inputs):
            return FREE_BODY
        elements = sum(tensor.nbytes // tensor.itemsize for tensor in inputs)
        most = max(most, JSON_BYTES * elements + LEAST_BODY)
    return most


def _sources(path: Path, given: str | None) -> list[Source]:
    if _is_artifact(path):
        name = artifact.read(path, verify=False).name if given is None else given
        return [Source(name, path)]
    if not path.is_dir():
        artifact.read(path)  # says what is wrong
    inside = _subfolders(path)
    versions = [each.name for each in inside if _is_artifact(each)]
    nested = [each for each in inside if any(map(_is_artifact, _subfolders(each)))]
    if versions and not nested and (given is not None or all(map(_numbered, versions))):
        return [Source(path.resolve().name if given is None else given, path)]
    models = [Source(each.name, each) for each in inside if _is_artifact(each) or each in nested]
    if not models:
        raise InputError(f"{path}: holds no artifact; make one with tvmkd build -o {path}/NAME")
    if given is not None:
        raise UsageError(f"{path}: holds several models, so --name cannot name it")
    return models


def _is_artifact(path: Path) -> bool:
    return (path / artifact.MANIFEST).is_file()


def _subfolders(path: Path) -> list[Path]:
    try:
        return sorted(each for each in path.iterdir() if each.is_dir())
    except OSError:
        return []


def _numbered(name: str) -> bool:
    try:
        Version(name)
    except InvalidVersion:
        return False
    return True


def _order(name: str) -> tuple[bool, Version, str]:
    numbered = _numbered(name)
    return numbered, Version(name) if numbered else Version("0"), name
