"""Where the images and labels of a WebDataset's shard are, so that they can be read in any order.

A sample is all members of one name up to its first dot: ``0001.jpg`` and ``0001.cls``. Only images
and labels are ever read: other members, such as pickles, are counted and left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.base import files, resources
from tvmkd.base.errors import InputError
from tvmkd.base.images import suffixes
from tvmkd.base.walk import is_hidden

Label = int | str

KEYS = ("cls", "label", "class", "class_id", "target", "category")  # of a .json
LABELS = ("cls", "txt", "json")  # the first that a sample has is its label
_LARGEST = 1 << 20  # bytes of a label
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Member:
    """A picture in a tar: bytes ``offset`` to ``offset + size`` of it."""

    shard: Path
    name: str
    offset: int
    size: int

    @property
    def path(self) -> Path:
        """Names it in messages."""
        return self.shard / self.name

    def read(self) -> bytes:
        """The picture's bytes.

        Raises:
            OSError: the tar cannot be read, or is shorter than it was.
        """
        descriptor = os.open(self.shard, os.O_RDONLY)
        try:
            data = os.pread(descriptor, self.size, self.offset)
        finally:
            os.close(descriptor)
        if len(data) != self.size:
            raise OSError("the tar ends before it does")
        return data


@dataclass
class Shard:
    """The samples of a shard, in its order.

    Attributes:
        samples: pictures with their labels.
        others: how many members were left out, by their endings or in a few words.
    """

    samples: list[tuple[Member, Label]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def read_all(shards: Sequence[Path]) -> list[Shard]:
    """The index of each shard, from ``$XDG_CACHE_HOME/tvmkd/shards`` where the file is the same.

    Raises:
        InputError: a shard is no plain tar, is cut short, or a label cannot be read.
    """
    with ThreadPoolExecutor(thread_name_prefix="tvmkd-index") as pool:
        return list(pool.map(_indexed, shards))


def _indexed(path: Path) -> Shard:
    name = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:24]
    cache = resources.cache("shards") / f"{name}.json"
    stat = path.stat()
    # The endings that are pictures depend on this Pillow.
    facts = [_FORMAT, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, sorted(suffixes())]
    try:
        known = json.loads(cache.read_bytes())
        if known["facts"] == facts:
            samples = [(Member(path, *place), label) for *place, label in known["samples"]]
            return Shard(samples, Counter(known["others"]))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    made = index(path)
    rows = [[item.name, item.offset, item.size, label] for item, label in made.samples]
    with contextlib.suppress(OSError, InputError):
        text = json.dumps({"facts": facts, "samples": rows, "others": made.others})
        files.write_bytes(cache, text.encode("ascii"))
    return made


def index(path: Path) -> Shard:
    """Reads the headers of a tar, and its labels.

    Raises:
        InputError: as `read_all`.
    """
    found, shard = _members(path)
    for parts in found.values():
        pictures = [part for end, part in parts.items() if end not in LABELS]
        ending = next((end for end in LABELS if end in parts), None)
        if not pictures:
            shard.others["labels without an image"] += 1
        elif ending is None:
            shard.others["images without a label (.cls, .txt or .json)"] += 1
        else:
            # In any order: 0001.jpg is the picture, 0001.depth.png something about it.
            picture = min(pictures, key=lambda part: os.path.basename(part.name).count("."))
            shard.samples.append((picture, _label(parts[ending], ending)))
            if len(pictures) > 1:
                shard.others["images of samples that have another"] += len(pictures) - 1
    return shard


def _members(path: Path) -> tuple[dict[str, dict[str, Member]], Shard]:
    """The images and labels by the names of their samples and their endings; the rest, counted."""
    found: dict[str, dict[str, Member]] = {}
    shard, length = Shard(), path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
                folder, base = os.path.split(info.name)
                if not info.isreg() or is_hidden(base):
                    continue
                key, _, ending = base.partition(".")
                ending = ending.lower()
                last = ending.rpartition(".")[2]
                if info.issparse() or (ending not in LABELS and f".{last}" not in suffixes()):
                    shard.others[f".{last}" if last else "files without an ending"] += 1
                    continue
                if info.offset_data + info.size > length:
                    raise tarfile.ReadError("unexpected end of data")
                member = Member(path, info.name, info.offset_data, info.size)
                found.setdefault(os.path.join(folder, key), {})[ending] = member
            _check_end(path, tar.offset)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as a tar: {error}; copy or make it again"
        ) from None
    return found, shard


def _check_end(path: Path, offset: int) -> None:
    """Checks that a tar ends where its reader stopped, which it also does at a damaged header.

    Raises:
        tarfile.ReadError: something else than zeros follows.
    """
    with path.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"the header at byte {offset} is damaged")


def _label(member: Member, ending: str) -> Label:
    """The label in a member: a number where it is one, otherwise text."""
    try:
        if member.size > _LARGEST:
            raise ValueError("is too large for a label")
        text = member.read().decode().strip()
        value: Any = text
        if ending == "json":
            value = json.loads(text)
            if isinstance(value, dict):
                value = next((value[key] for key in KEYS if key in value), None)
        if isinstance(value, str):
            value = value.strip()
            digits = value.removeprefix("-")
            value = int(value) if digits.isdecimal() and digits.isascii() else value
        if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
            raise ValueError(f"holds no label; a .json has one under {', '.join(KEYS)}")
    except (OSError, ValueError, RecursionError) as error:
        reason = "is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(f"{member.path}: {reason}; correct it, or leave the sample out") from None
    return value
