"""Reads and writes a bundle's ``.tar.gz``: the same content gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tvmkd.base.errors import InputError
from tvmkd.base.files import draft, sha256

EXECUTABLE, PLAIN = 0o755, 0o644
MOST_FILES = 10_000
MOST_KEPT = 4 << 20
CHUNK = 1 << 20

Content = bytes | Path


@dataclass(frozen=True)
class Entry:
    """A file to be written.

    Attributes:
        content: its bytes, or the file that has them.
        mode: `EXECUTABLE` or `PLAIN`.
    """

    content: Content
    mode: int = PLAIN

    @property
    def size(self) -> int:
        """How many bytes it has."""
        content = self.content
        return content.stat().st_size if isinstance(content, Path) else len(content)

    def sha256(self) -> str:
        """The SHA-256 of its bytes, in hex."""
        content = self.content
        return sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


def write(path: Path, top: str, entries: Mapping[str, Entry], level: int = 6) -> None:
    """Writes the archive in one step, without dates, owners or an order of the file system in it.

    Args:
        path: the ``.tar.gz``.
        top: the folder that everything lies in.
        entries: the files by their paths below it.
        level: of compression.

    Raises:
        InputError: it cannot be written.
    """
    with (
        draft(path) as written,
        written.open("wb") as raw,
        # No file name and no time in gzip's header.
        gzip.GzipFile("", "wb", level, raw, mtime=0) as packed,
    ):
        add_all(packed, top, entries)


def add_all(stream: io.BufferedIOBase, top: str, entries: Mapping[str, Entry]) -> None:
    """Writes a tar archive to ``stream``: sorted, owned by root, of 1970."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        prefix = f"{top}/" if top else ""
        folders = {
            str(parent)
            for name in entries
            for parent in PurePosixPath(f"{prefix}{name}").parents
            if str(parent) != "."
        }
        names = {f"{prefix}{name}": entry for name, entry in entries.items()}
        for name in sorted({*folders, *names}):
            member = tarfile.TarInfo(name)
            if name in folders:
                member.type, member.mode = tarfile.DIRTYPE, EXECUTABLE
                archive.addfile(member)
                continue
            entry = names[name]
            member.mode, member.size = entry.mode, entry.size
            if isinstance(entry.content, Path):
                with entry.content.open("rb") as source:
                    archive.addfile(member, source)
            else:
                archive.addfile(member, io.BytesIO(entry.content))


@dataclass(frozen=True)
class Member:
    """A file of an archive that was read.

    Attributes:
        size: in bytes.
        sha256: in hex.
        data: its bytes; empty unless they were asked for.
    """

    size: int
    sha256: str
    data: bytes


def read(path: Path, most_bytes: int, keep: Collection[str] = ()) -> tuple[str, dict[str, Member]]:
    """The folder that everything lies in, and its files; nothing is written anywhere.

    Args:
        path: the ``.tar.gz``.
        most_bytes: of all files together.
        keep: the files whose bytes are wanted; one with more than `MOST_KEPT` is refused.

    Raises:
        InputError: it is none, is cut short, or holds what no bundle does: links, devices, paths
            that lead out of it, more than one folder at the top.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the .tar.gz of tvmkd deploy bundle")
    files: dict[str, Member] = {}
    tops: set[str] = set()
    size = 0
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for number, member in enumerate(archive):
                parts = PurePosixPath(member.name).parts
                size += member.size
                if not parts or ".." in parts or parts[0] == "/":
                    raise InputError(f"{path}: holds a path that leads out of it: {member.name}")
                if not (member.isreg() or member.isdir()):
                    raise InputError(f"{path}: holds a link or a device: {member.name}")
                if number > MOST_FILES or size > most_bytes:
                    raise InputError(f"{path}: is larger than any bundle")
                tops.add(parts[0])
                if member.isreg():
                    name = "/".join(parts[1:])
                    if name in keep and member.size > MOST_KEPT:
                        raise InputError(f"{path}: is no bundle of tvmkd: {name} is too large")
                    files[name] = _read(archive, member, name in keep)
            # gzip checks its sum at the end, which lies behind tar's.
            while rest := packed.read(CHUNK):
                size += len(rest)
                if size > most_bytes:
                    raise InputError(f"{path}: is larger than any bundle")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such bundle") from None
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not gzip's
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        raise InputError(f"{path}: is no .tar.gz, or was cut short: {error}") from None
    if len(tops) != 1 or "" in files:
        raise InputError(f"{path}: is no bundle of tvmkd: it has no single folder at the top")
    return tops.pop(), files


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, keep: bool) -> Member:
    stream = archive.extractfile(member)
    assert stream is not None
    digest, kept = hashlib.sha256(), []
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
        if keep:
            kept.append(chunk)
    return Member(member.size, digest.hexdigest(), b"".join(kept))


def parse_sums(text: str, where: str) -> dict[str, str]:
    """SHA-256 by path, from the lines of ``sha256sum``.

    Raises:
        InputError: a line is something else.
    """
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if match is None:
            raise InputError(f"{where}: its checksums are damaged: {line[:40]!r}")
        found[match[2]] = match[1]
    return found
