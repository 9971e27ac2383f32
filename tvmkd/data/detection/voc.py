"""The layout of PASCAL VOC: ``Annotations/*.xml``, ``JPEGImages/``, ``ImageSets/Main/*.txt``.

Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010, and its development kit.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import defusedxml.ElementTree
import numpy as np

from tvmkd.base import walk
from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text
from tvmkd.base.images import suffixes
from tvmkd.base.text import suggest
from tvmkd.data.detection.annotations import Annotation, fit_boxes
from tvmkd.data.detection.splits import DetectionSplits, Division, build
from tvmkd.data.pictures import upright_size
from tvmkd.data.split_names import split_of

ANNOTATIONS, IMAGES, LISTS = "Annotations", "JPEGImages", "ImageSets/Main"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObject:
    """One object: its class, and ``x1, y1, x2, y2`` as in ``Annotation.boxes``."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool = False


@dataclass(frozen=True)
class _Parsed:
    file: Path
    image: Path
    size: tuple[int, int]
    objects: list[VocObject]


def load_voc(
    root: Path, classes: Sequence[str] | None = None, division: Division | None = None
) -> DetectionSplits:
    """Reads a folder in VOC layout.

    The lists ``train``, ``val`` and ``test`` of ``ImageSets/Main`` are used as the splits, see
    ``splits.build``; other names of them are known, too, see `split_names`. ``trainval`` replaces a
    missing ``train``, and a folder without lists is split here. VOC's corners count pixels from 1
    and are inclusive; boxes here count from 0, and the last corner is exclusive.
    An annotation without objects is a negative.

    Args:
        root: the folder that contains ``Annotations``.
        classes: the class map, in the order of the labels; by default all names in the annotations,
            sorted.
        division: fractions and seed for a folder without splits.

    Raises:
        InputError: a folder, an image or an annotation is missing; XML that is damaged or has a
            document type; a class that is not in the map; a box outside of its image; an image in
            two splits; a split without objects. The message is one line with the file's name.
    """
    if not (root / ANNOTATIONS).is_dir():
        raise InputError(
            f"{root}: has no folder {ANNOTATIONS}; give the folder that holds {ANNOTATIONS}, "
            f"{IMAGES} and perhaps {LISTS}"
        )
    images = _images(root / IMAGES)
    parsed = {
        name: [_parse(root, stem, source, images) for stem, source in stems.items()]
        for name, stems in _lists(root, images).items()
    }
    if classes is None:
        every = (item for part in parsed.values() for item in part)
        classes = sorted({entry.name for item in every for entry in item.objects})
    labels = {name: label for label, name in enumerate(classes, 1)}
    numbers = iter(range(sum(map(len, parsed.values()))))
    parts = {
        name: [_annotation(item, next(numbers), labels) for item in part]
        for name, part in parsed.items()
    }
    return build(parts, classes, root, division)


def write_annotation(
    path: Path, image: str, size: tuple[int, int], objects: Iterable[VocObject], source: str
) -> None:
    """Writes one image's XML.

    Args:
        path: the file to write.
        image: the name of the image's file.
        size: ``(width, height)`` in pixels.
        objects: the objects; corners must be whole numbers, since VOC counts pixels.
        source: the name of the data set.
    """
    top = ElementTree.Element("annotation")
    _texts(top, folder=IMAGES, filename=image)
    _texts(ElementTree.SubElement(top, "source"), database=source)
    _texts(ElementTree.SubElement(top, "size"), width=size[0], height=size[1], depth=3)
    _texts(top, segmented=0)
    for entry in objects:
        node = ElementTree.SubElement(top, "object")
        _texts(node, name=entry.name, pose="Unspecified", truncated=0)
        _texts(node, difficult=int(entry.difficult))
        x1, y1, x2, y2 = map(int, entry.box)
        corners = dict(zip(CORNERS, (x1 + 1, y1 + 1, x2, y2), strict=True))
        _texts(ElementTree.SubElement(node, "bndbox"), **corners)
    ElementTree.indent(top)
    path.write_bytes(ElementTree.tostring(top, encoding="utf-8") + b"\n")


def _texts(parent: ElementTree.Element, **texts: object) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)


def _images(folder: Path) -> dict[str, Path]:
    """The images by name without suffix, which is VOC's name of an image."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; put the images there")
    _, files = walk.entries(folder, lambda reason, path: None)
    found = [path for path in files if path.suffix.lower() in suffixes()]
    return {path.stem: path for path in reversed(found)}


def _lists(root: Path, images: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """The image names of each part, each with the file that lists it."""
    files = _list_files(root / LISTS)
    if not files:
        annotated = {
            path.stem
            for path in (root / ANNOTATIONS).glob("*.xml")
            if not walk.is_hidden(path.name)
        }
        every = sorted(annotated | set(images))
        if not every:
            raise InputError(f"{root / ANNOTATIONS}: no annotations; put one XML an image there")
        return {"all": {stem: images.get(stem, root / ANNOTATIONS) for stem in every}}
    both = files.pop("trainval", None)
    if "train" not in files:
        if both is None:
            raise InputError(f"{root / LISTS}: no train.txt; add one, or remove the other lists")
        files = {"train": both} | {name: files[name] for name in ("test",) if name in files}

    def listed(line: str) -> str:
        """The line, or its first word: a flag may follow."""
        whole = line.strip()
        there = whole in images or (root / ANNOTATIONS / f"{whole}.xml").is_file()
        return whole if there else whole.split()[0]

    parts = {
        name: dict.fromkeys(
            (listed(line) for line in _text(path).splitlines() if line.strip()), path
        )
        for name, path in files.items()
    }
    seen: dict[str, Path] = {}
    for stems in parts.values():
        for stem, path in stems.items():
            if stem in seen:
                raise InputError(f"{path}: {stem} is in {seen[stem].name} too; keep one of them")
            seen[stem] = path
    return parts


def _list_files(folder: Path) -> dict[str, Path]:
    """The lists by split, and ``trainval``; lists of one class (``cat_train.txt``) are not used."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.txt")):
        name = path.stem.lower()
        split: str | None = "trainval" if name == "trainval" else split_of(name)
        if split is not None and not walk.is_hidden(path.name):
            found.setdefault(split, []).append(path)
    for split, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise InputError(f"{folder}: {names} are all named like the {split} split; keep one")
    order = ("train", "val", "test", "trainval")
    return {split: found[split][0] for split in order if split in found}


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a list of images: {error}") from None


def _parse(root: Path, stem: str, source: Path, images: dict[str, Path]) -> _Parsed:
    file = root / ANNOTATIONS / f"{stem}.xml"
    if not file.is_file():
        raise InputError(
            f"{file}: missing, but {source} has that image; annotate it (an annotation without "
            "objects says that there are none)"
        )
    try:
        # Prevents entity expansion and file inclusion: annotations need no DTD.
        top = defusedxml.ElementTree.parse(file, forbid_dtd=True).getroot()
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: cannot be read as XML: {text}; correct or remove it") from None
    named = Path(top.findtext("filename", "").strip()).name
    image = images.get(stem, root / IMAGES / (named or f"{stem}.jpg"))
    if not image.is_file():
        raise InputError(f"{image}: there is no such image, but {file} annotates it; bring it back")
    size = (_number(top, "size/width", file, 0.0), _number(top, "size/height", file, 0.0))
    # Some tools omit the size or write 0.
    known = (int(size[0]), int(size[1])) if min(size) > 0 else upright_size(image)
    return _Parsed(file, image, known, [_object(node, file) for node in top.findall("object")])


def _object(node: ElementTree.Element, file: Path) -> VocObject:
    name = node.findtext("name", "").strip()
    if not name:
        raise InputError(f"{file}: an object has no name; give it its class")
    x1, y1, x2, y2 = (_number(node, f"bndbox/{corner}", file) for corner in CORNERS)
    difficult = _number(node, "difficult", file, 0.0) != 0
    return VocObject(name, (x1 - 1, y1 - 1, x2, y2), difficult)


def _number(
    node: ElementTree.Element, path: str, file: Path, default: float | None = None
) -> float:
    text = (node.findtext(path) or "").strip()
    if not text and default is not None:
        return default
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise InputError(f'{file}: {node.tag}/{path} is "{text}", not a number; correct it')


def _annotation(item: _Parsed, number: int, labels: dict[str, int]) -> Annotation:
    for entry in item.objects:
        if entry.name not in labels:
            raise InputError(
                f'{item.file}: "{entry.name}" is not one of the {len(labels)} classes'
                f"{suggest(entry.name, labels)}; correct it, or add it to the class map"
            )
    boxes = np.array([entry.box for entry in item.objects], np.float64).reshape(-1, 4)
    fitted, clipped = fit_boxes(boxes, item.size, str(item.file))
    return Annotation(
        image=item.image,
        image_id=number,
        size=item.size,
        boxes=fitted,
        labels=np.array([labels[entry.name] for entry in item.objects], np.int64),
        difficult=np.array([entry.difficult for entry in item.objects], bool),
        crowd=np.zeros(len(item.objects), bool),
        clipped=clipped,
    )
