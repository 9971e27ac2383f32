"""What a suite is: a TOML file with networks, the most telling first."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text
from tvmkd.base.text import listing, suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent


class Network(BaseModel):
    """One network: a model by name with the shape of its input, or an ONNX file."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names its folder, too."""
    model: str | None = None
    """As for `tvmkd.models.build`; its weights are random."""
    shape: tuple[int, ...] = ()
    """Of its one input, batch first."""
    onnx: Path | None = None
    """A file, relative to the suite's."""

    @model_validator(mode="after")
    def _one_source(self) -> Network:
        if (self.model is None) == (self.onnx is None):
            raise ValueError("give either model with shape, or onnx")
        if self.model is not None and (not self.shape or min(self.shape) < 1):
            raise ValueError("model needs the shape of its input, such as [1, 3, 224, 224]")
        if self.onnx is not None and self.shape:
            raise ValueError("onnx has the shapes in it: leave out shape")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    description: str = ""
    network: list[Network] = Field(min_length=1)


@dataclass(frozen=True)
class Suite:
    """A list of networks.

    Attributes:
        name: of the file, without suffix.
        description: one line.
        networks: the most telling first.
        folder: of the file.
    """

    name: str
    description: str
    networks: tuple[Network, ...]
    folder: Path


def names() -> list[str]:
    """The suites that ship with tvmkd."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name_or_path: str) -> Suite:
    """The suite of that name, or of the file at that path (ends in ``.toml``).

    Raises:
        InputError: there is none, or the file is no suite; the message says where.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        known = names()
        if name_or_path not in known:
            raise InputError(
                f'no suite "{name_or_path}"{suggest(name_or_path, known)} (known: '
                f"{listing(known)}, or the path of a file that ends in .toml)"
            )
        path = FOLDER / f"{name_or_path}.toml"
    try:
        return parse(tomllib.loads(read_text(path)), path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such suite") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a suite in TOML: {error}") from None


def parse(data: Any, path: Path) -> Suite:
    """The suite in a file's data.

    Raises:
        InputError: it is none; the message begins with ``path``.
    """
    try:
        found = _File.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}") from None
    counted = [network.name for network in found.network]
    twice = sorted({name for name in counted if counted.count(name) > 1})
    if twice:
        raise InputError(f'{path}: two networks are called "{twice[0]}": give one another name')
    return Suite(path.stem, found.description, tuple(found.network), path.parent)


def _first(error: ValidationError) -> str:
    """Where in the file, and what."""
    found = error.errors(include_url=False)[0]
    where = ""
    for part in found["loc"]:
        where += f" {part + 1}" if isinstance(part, int) else f" {part}"
    return f"{where.strip() or 'the file'}: {found['msg'].removeprefix('Value error, ').lower()}"
