"""The layout of COCO: ``annotations/instances_*.json``, and a folder of images for each.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; https://cocodataset.org/#format-data
"""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from tvmkd.base import console, walk
from tvmkd.base.errors import InputError
from tvmkd.data.detection.annotations import Annotation, fit_boxes
from tvmkd.data.detection.splits import DetectionSplits, Division, Parts, build
from tvmkd.data.pictures import upright_size
from tvmkd.data.split_names import SPLITS, split_of, within

FOLDER, PREFIX = "annotations", "instances_"


class _Image(BaseModel):
    id: int
    file_name: str
    width: int = 0
    height: int = 0


class _Object(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]  # x, y, width, height
    iscrowd: int = 0


class _Category(BaseModel):
    id: int
    name: str


class _File(BaseModel):
    images: list[_Image]
    annotations: list[_Object]
    categories: list[_Category]


def load_coco(root: Path, division: Division | None = None) -> DetectionSplits:
    """Reads a folder in COCO layout.

    ``instances_train*.json``, ``instances_val*.json`` and ``instances_test*.json`` are used as the
    splits, see ``splits.build``; other names of a split are known, too, see `split_names`, and a
    single file of another name is split here. The images are in a folder of the same name
    (``train2017`` for ``instances_train2017.json``) or another name of the split, in ``root`` or in
    ``root/images``, or directly in one of these two. ``SPLIT/*.json`` beside the images of each
    split is read as well. Category ids may have gaps: labels count from
    1 in the order of the ids. Crowds are removed from the training split and kept in the other two.
    An image without annotations is a negative. Boxes without area are removed, with a warning.

    Args:
        root: the folder that contains ``annotations``.
        division: fractions and seed for a folder without splits.

    Raises:
        InputError: a file or an image is missing; JSON that is damaged or not COCO; duplicate or
            unknown ids; files with different categories; a box outside of its image; a split
            without objects. The message is one line with the file's name.
    """
    files = _files(root)
    read = {name: _read(path) for name, path in files.items()}
    labels: dict[int, int] = {}
    classes: list[str] = []
    for name, content in read.items():
        categories = sorted((entry.id, entry.name) for entry in content.categories)
        ids, names = [key for key, _ in categories], [text for _, text in categories]
        if len(set(ids)) < len(ids) or len(set(names)) < len(names):
            raise InputError(f"{files[name]}: an id or a name of its categories is there twice")
        if labels and (list(labels), classes) != (ids, names):
            first = next(iter(files.values())).name
            raise InputError(
                f"{files[name]}: its categories are not those of {first}; make them so"
            )
        labels, classes = {key: label for label, key in enumerate(ids, 1)}, names
    seen: dict[str, Path] = {}
    parts: Parts = {}
    for name, content in read.items():
        parts[name] = _annotations(root, files[name], content, labels)
        for annotation in parts[name]:
            image = str(annotation.image)
            if image in seen:
                raise InputError(f"{files[name]}: {image} is in {seen[image].name} too; keep one")
        seen |= {str(annotation.image): files[name] for annotation in parts[name]}
    return build(parts, classes, root, division)


def _files(root: Path) -> dict[str, Path]:
    """The annotation file of each split, or of ``all``."""
    found = _annotation_files(root)
    files: dict[str, Path] = {}
    for path in found:
        name = _split(path) or "all"
        if name in files:
            raise InputError(f"{path}: {files[name].name} is there too; keep the one that is meant")
        files[name] = path
    if "train" in files and "all" in files:
        raise InputError(f"{files['all']}: is neither train, val nor test; rename or remove it")
    if "train" not in files:
        if len(files) > 1:
            raise InputError(f"{found[0].parent}: no {PREFIX}train*.json; add it")
        return {"all": found[0]}
    return {name: files[name] for name in ("train", "val", "test") if name in files}


def _annotation_files(root: Path) -> list[Path]:
    """``annotations/instances_*.json``, other JSON there, or one file in each split's folder."""
    folders = walk.entries(root, _ignore)[0] if root.is_dir() else []
    for folder in folders:
        if folder.name.lower() == FOLDER:
            every = [path for path in walk.entries(folder, _ignore)[1] if _is_json(path)]
            found = [path for path in every if path.name.startswith(PREFIX)] or every
            if found:
                return found
    # As Roboflow writes it: train/_annotations.coco.json beside the images of train.
    beside = [
        [path for path in walk.entries(folder, _ignore)[1] if _is_json(path)]
        for folder in folders
        if split_of(folder.name)
    ]
    if any(beside):
        return [path for paths in beside for path in paths]
    raise InputError(f"{root / FOLDER}: no {PREFIX}*.json; put COCO's annotations there")


def _split(path: Path) -> str | None:
    """The split of an annotation file, by its name, or by its folder's where it lies beside images.

    ``instances_train2017.json``, ``instances_trainA.json``, ``Valid.json``, ``my_test.json``.
    """
    if path.parent.name.lower() != FOLDER:
        return split_of(path.parent.name)
    rest = path.stem.removeprefix(PREFIX)
    found = split_of(rest) or (within(rest) or (None,))[0]
    return found or next((part for part in SPLITS if rest.startswith(part)), None)


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _ignore(reason: str, path: Path) -> None:
    del reason, path


def _read(path: Path) -> _File:
    try:
        return _File.model_validate_json(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        text = f"{where}: {first['msg']}" if where else first["msg"]
        raise InputError(f"{path}: is not COCO's JSON: {text}; correct it") from None


def _annotations(
    root: Path, path: Path, content: _File, labels: dict[int, int]
) -> list[Annotation]:
    objects: dict[int, list[_Object]] = {}
    for image in content.images:
        if image.id in objects:
            raise InputError(f"{path}: the image id {image.id} is there twice; give each its own")
        objects[image.id] = []
    flat = 0
    for entry in content.annotations:
        if entry.image_id not in objects:
            raise InputError(f"{path}: an annotation's image_id {entry.image_id} is no image's id")
        if entry.category_id not in labels:
            raise InputError(
                f"{path}: an annotation of image {entry.image_id} has category_id "
                f"{entry.category_id}, which is not one of its categories; correct it, or add it"
            )
        if 0 in entry.bbox[2:]:
            flat += 1
            continue
        objects[entry.image_id].append(entry)
    if flat:
        console.warn(f"{path}: {flat} boxes have no area and were left out")
    if not content.images:
        return []
    folder = _folder(root, path, content.images[0].file_name)
    return [
        _annotation(path, folder / image.file_name, image, objects[image.id], labels)
        for image in content.images
    ]


def _folder(root: Path, path: Path, first: str) -> Path:
    """The folder of an annotation file's images: the one that contains the first image."""
    name = path.stem.removeprefix(PREFIX)
    beside = path.parent.name.lower() != FOLDER
    candidates = [root / name, root / "images" / name]
    candidates = [path.parent, *candidates] if beside else candidates
    split = _split(path)
    if split is not None:  # val2017.json beside a folder "valid"
        inside = [place for place in (root, root / "images") if place.is_dir()]
        named = (folder for place in inside for folder in walk.entries(place, _ignore)[0])
        candidates += [folder for folder in named if split_of(folder.name) == split]
    candidates += [root / "images", root]
    for folder in candidates:
        if (folder / first).is_file():
            return folder
    tried = ", ".join(dict.fromkeys(map(str, candidates)))
    raise InputError(f"{path}: its image {first} is in none of {tried}; put it in the first")


def _annotation(
    path: Path, image: Path, facts: _Image, objects: list[_Object], labels: dict[int, int]
) -> Annotation:
    if not image.is_file():
        raise InputError(f"{image}: there is no such image, but {path} annotates it; bring it back")
    known = min(facts.width, facts.height) > 0
    size = (facts.width, facts.height) if known else upright_size(image)
    boxes = np.array([entry.bbox for entry in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    fitted, clipped = fit_boxes(boxes, size, f"{path}: {facts.file_name}")
    return Annotation(
        image=image,
        image_id=facts.id,
        size=size,
        boxes=fitted,
        labels=np.array([labels[entry.category_id] for entry in objects], np.int64),
        difficult=np.zeros(len(objects), bool),
        crowd=np.array([entry.iscrowd != 0 for entry in objects], bool),
        clipped=clipped,
    )
