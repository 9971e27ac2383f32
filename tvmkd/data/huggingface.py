"""A folder of Hugging Face's ``datasets``: saved with ``save_to_disk``, Parquet, or images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import console, resources, shards
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.known_files import KnownFiles
from tvmkd.base.walk import files_below
from tvmkd.data import class_labels, decoded
from tvmkd.data.folder import HASH_BYTES
from tvmkd.data.fractions import Listing, divide
from tvmkd.data.split_names import assign, split_of, within
from tvmkd.data.splits import Splits

if TYPE_CHECKING:
    from tvmkd.config import Data

LABELS = ("label", "labels", "class", "target", "fine_label")
PLAIN = ("int", "uint", "bool", "string", "large_string")  # types of such a column; polars' last
IMAGES = ("image", "img", "images", "picture")


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The picture in a row of a data set.

    Attributes:
        table: a ``datasets.Dataset`` of that column alone, not decoded.
        column: its name.
        index: of the row.
        name: of the data set and the split.
    """

    table: Any
    column: str
    index: int
    name: Path

    @property
    def path(self) -> Path:
        """Names it in messages."""
        return self.name / str(self.index)

    def read(self) -> bytes:
        """The picture's bytes.

        Raises:
            OSError: it is in a file that cannot be read, or in none.
        """
        cell = self.table[self.index][self.column]
        if cell is None:
            raise OSError("the row has no image")
        if cell["bytes"] is not None:
            found: bytes = cell["bytes"]
            return found
        if "://" in (cell["path"] or "://"):
            raise OSError("is not stored here, and nothing is downloaded")
        return Path(cell["path"]).read_bytes()


def load_huggingface(cfg: Data) -> Splits:
    """Loads the images and classes in ``cfg.path`` with the ``datasets`` library.

    The folder is what ``save_to_disk`` wrote, or holds Parquet files, or images in any way that the
    library's ``imagefolder`` reads. No code in it is run, and nothing is downloaded. The names of
    the splits, or of the Parquet files, are those of `split_names`; without them each class is
    split by the fractions, with ``split_seed``.

    Raises:
        InputError: the folder is none of these, it has no column of images or of classes, labels
            that are no classes, fewer than two classes, an empty split, or images that cannot be
            read (the message names them).
        MissingError: without the extra ``data``.
    """
    assert cfg.path is not None
    root = cfg.path
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; set [data] path")
    tables = _parts(root, _opened(root))
    names: dict[str, Sequence[str]] = {}
    found: dict[str, list[tuple[Row, int | str]]] = {}
    for name, table in tables.items():
        image, label = _columns(root, table)
        names[name] = getattr(table.features[label], "names", None) or ()
        found[name] = _rows(root / name, table, image, label)
    classes, numbered = class_labels.numbered(root, found, _numbered_alike(root, found, names))
    parts = divide(cfg, numbered)
    files = KnownFiles(root)
    stored = sorted(files_below(root), key=lambda path: path.parts)

    def digest(facts: tuple[int, int]) -> str:
        files.add(stored)
        made = _digest(root, parts, stored, facts, files)
        files.save()
        return made

    def unread() -> Sequence[Row]:
        every = [item for part in parts.values() for item, _ in part]
        return every if files.new(stored) else []

    return decoded.make_splits(cfg, classes, parts, digest, unread)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingError(
            f'dataset = "huggingface" needs {error.name}; install it: {shards.INSTALL}'
        ) from None
    return datasets


def _opened(root: Path) -> Mapping[str, Any]:
    """The tables in a folder by their names in it."""
    datasets = _library()
    parquet = [path for path in files_below(root) if path.suffix.lower() == ".parquet"]
    bars, offline = datasets.is_progress_bar_enabled(), datasets.config.HF_HUB_OFFLINE
    try:
        datasets.disable_progress_bars()
        datasets.config.HF_HUB_OFFLINE = True  # it would count each use at its makers' server
        if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
            found = datasets.load_from_disk(str(root))
        else:
            options: dict[str, Any] = {"data_dir": str(root)}
            if parquet:
                parts = _by_split(root, sorted(parquet))
                options = {"data_files": {name: [*map(escape, of)] for name, of in parts.items()}}
            found = datasets.load_dataset(
                "parquet" if parquet else "imagefolder",
                **options,
                cache_dir=str(_converted(root)),
            )
    except Exception as error:  # Arrow, the file system and the library have many
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{root}: cannot be read by datasets {datasets.__version__}: {text}"
        ) from None
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
        if bars:
            datasets.enable_progress_bars()
    tables = found if isinstance(found, dict) else {"all": found}
    # One that was saved with a format would give its labels as tensors.
    return {name: table.with_format(None) for name, table in tables.items()}


def _converted(root: Path) -> Path:
    """Where the library keeps what it makes of a folder's files as they are now.

    It would not notice that a file was replaced by one of the same time, which the hash of the data
    does.
    """
    digest = hashlib.sha256(os.fsencode(os.path.abspath(root)))
    for path in sorted(files_below(root)):
        stat = path.stat()
        digest.update(os.fsencode(path.relative_to(root)))
        digest.update(f"\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode())
    return resources.cache("datasets") / digest.hexdigest()[:24]


def _by_split(root: Path, files: Sequence[Path]) -> dict[str, list[str]]:
    """Parquet files by their splits: ``data/train-00000-of-00001.parquet``, ``test/0.parquet``."""
    splits = []
    for path in files:
        inside = path.relative_to(root)
        folders = [split_of(part) for part in inside.parts[:-1]]
        word = within(path.stem)
        named = split_of(path.stem) or (word[0] if word else None)
        splits.append(next((split for split in folders if split), named))
    if not any(splits):
        return {"all": [str(path) for path in files]}
    if None in splits:
        raise InputError(
            f"{files[splits.index(None)]}: belongs to no split, but other files of {root} do; put "
            "train, val or test into its name"
        )
    return {
        str(name): [str(path) for path in paths] for name, paths in assign(files, splits).items()
    }


def _parts(root: Path, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables by split, or ``all``."""
    if len(tables) == 1:
        return {"all": next(iter(tables.values()))}
    names = list(tables)
    splits = [split_of(name) for name in names]
    unknown = [name for name, split in zip(names, splits, strict=True) if split is None]
    if unknown:
        console.warn(f"{root}: left out: the splits {', '.join(unknown)}")
    found = assign(names, splits)
    double = [each for each in found.values() if len(each) > 1]
    if "train" not in found or double:
        raise InputError(
            f"{root}: has the splits {', '.join(names)}; wanted are one train, and perhaps one "
            "validation and one test"
        )
    return {split: tables[each[0]] for split, each in found.items()}


def _columns(root: Path, table: Any) -> tuple[str, str]:
    """The names of the columns with the images and the classes."""
    datasets = _library()
    features = table.features
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)] or [
        name
        for name, kind in features.items()
        if isinstance(kind, dict) and set(kind) == {"bytes", "path"}
    ]
    classes = [
        name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)
    ] or [
        name
        for name, kind in features.items()
        if name in LABELS and getattr(kind, "dtype", "").startswith(PLAIN)
    ]
    have = f"its columns are {', '.join(features)}"
    image, label = _best(images, IMAGES), _best(classes, LABELS)
    if image is None:
        what = "has no column of images" if not images else "has several columns of images"
        raise InputError(f"{root}: {what}; {have}; remove or rename some")
    if label is None:
        what = "has no column of classes" if not classes else "has several columns of classes"
        raise InputError(f"{root}: {what}; {have}; name the one to learn label")
    return image, label


def _best(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The only name, or the first that is known; None if it is not clear which."""
    if len(names) == 1:
        return names[0]
    return next((name for name in known if name in names), None)


def _rows(name: Path, table: Any, image: str, label: str) -> list[tuple[Row, int | str]]:
    """The rows that have a label; a ``ClassLabel`` of -1 is none."""
    datasets = _library()
    cells = table.select_columns([label])[:][label]
    labels = [int(cell) if isinstance(cell, bool) else cell for cell in cells]
    plain = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    wanted = [index for index, value in enumerate(labels) if value is not None and value != -1]
    if len(wanted) < len(labels):
        console.warn(f"{name}: left out: {len(labels) - len(wanted)} rows without a label")
    return [(Row(plain, image, index, name), labels[index]) for index in wanted]


def _numbered_alike(
    root: Path,
    found: dict[str, list[tuple[Row, int | str]]],
    names: Mapping[str, Sequence[str]],
) -> Sequence[str]:
    """The names of the training split's classes, whose numbers the others get here.

    The library numbers the classes of each split by themselves, if asked to encode a column.
    """
    wanted = names.get("train") or next(filter(None, names.values()), ())
    for split, own in names.items():
        if not own or own == wanted:
            continue
        place = {number: wanted.index(name) for number, name in enumerate(own) if name in wanted}
        lost = sorted({int(number) for _, number in found[split]} - place.keys())
        if lost:
            classes = ", ".join(
                own[number] if number < len(own) else str(number) for number in lost[:5]
            )
            raise InputError(
                f"{root}: the {split} split has classes that the train split has not: {classes}"
            )
        found[split] = [(row, place[int(number)]) for row, number in found[split]]
    return wanted


def _digest(
    root: Path,
    parts: Mapping[str, Listing[Row]],
    stored: Sequence[Path],
    facts: tuple[int, int],
    known: KnownFiles,
) -> str:
    digest = hashlib.sha256(repr(facts).encode())
    for piece in known.summary(root, stored, HASH_BYTES):
        digest.update(piece)
    for name, part in parts.items():
        for item, label in part:
            digest.update(f"{name}\0{label}\0{item.name.name}\0{item.index}\n".encode())
    return digest.hexdigest()
