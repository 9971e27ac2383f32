"""Finds the splits and class folders of a data set, however its folders are named and nested.

A split that exists is used or refused, never taken for a class in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.base.images import suffixes
from tvmkd.base.walk import entries
from tvmkd.data.left_out import LOOSE, LeftOut
from tvmkd.data.split_names import SPLITS, Split, assign, split_of, within

Classes = dict[str, Path]
"""The folder of each class, by its name, sorted."""
Parts = dict[str, Classes]
"""``all``, or ``train`` and perhaps ``val`` and ``test``."""

_COMMON = {"images", "imgs", "data", "dataset"}
_SHORT = {"tr", "te", "ts"}  # languages, too: Turkish, Telugu, Tsonga


def find(root: Path, left: LeftOut) -> Parts:
    """The class folders below ``root``, by split.

    Known are ``root/SPLIT/CLASS``, ``root/CLASS/SPLIT`` and ``root/CLASS``, the first two with the
    names of `split_names`, each also inside of one more folder (``root/images/train/CLASS``).

    Args:
        root: the folder of the data set.
        left: counts what is not used at the levels above the classes.

    Raises:
        InputError: folders that are named like splits cannot be used as splits, or two of them are
            the same split.
    """
    finder = _Finder(left)
    place = finder.data_set(root)
    if place != root:
        console.say(f"{root}: the data set is in {place.relative_to(root)}")
    return finder.parts(place)


class _Finder:
    def __init__(self, left: LeftOut) -> None:
        self._left = left
        self._seen: dict[Path, tuple[list[Path], bool]] = {}

    def _look(self, folder: Path) -> tuple[list[Path], bool]:
        if folder not in self._seen:
            folders, files = entries(folder, lambda reason, path: None)
            pictures = any(file.suffix.lower() in suffixes() for file in files)
            self._seen[folder] = folders, pictures
        return self._seen[folder]

    def folders(self, folder: Path) -> list[Path]:
        """The visible sub-folders of a folder."""
        return self._look(folder)[0]

    def flat(self, folder: Path) -> bool:
        """True for a folder with pictures of its own."""
        return self._look(folder)[1]

    def data_set(self, root: Path) -> Path:
        """The folder whose sub-folders are splits or classes: ``root``, or one in it."""
        place = root
        while True:
            inside = self.folders(place)
            if len(inside) == 1 and not self.flat(place) and split_of(inside[0].name) is None:
                if not self.folders(inside[0]):
                    return place
                place = inside[0]
                continue
            if self.splits(inside):
                return place
            nested = [folder for folder in inside if self.splits(self.folders(folder))]
            if self.classes_first(inside) or not nested:
                return place
            if len(nested) > 1:
                raise InputError(
                    f"{place}: {_names(nested)} each hold a train split; set [data] path to one"
                )
            _warn_beside(place, nested[0].name, [item for item in inside if item != nested[0]])
            place = nested[0]

    def splits(self, folders: Sequence[Path]) -> dict[Split, list[Path]]:
        """The split folders among ``folders``; nothing if there is no training split.

        Only a folder with sub-folders is a split: ``train`` may be a class beside ``car``.
        """
        full = [folder for folder in folders if self.folders(folder)]
        found = assign(full, [split_of(folder.name) for folder in full])
        if "train" in found:
            return found
        # seg_train beside seg_test: the rest of the names has to be the same.
        words = [within(folder.name) for folder in full]
        rests = Counter(word[1] for word in words if word is not None)
        for rest, _ in rests.most_common():
            chosen = [word[0] if word and word[1] == rest else None for word in words]
            found = assign(full, chosen)
            if "train" in found and len(found) > 1:
                return found
        return {}

    def classes_first(self, folders: Sequence[Path]) -> Parts:
        """``CLASS/SPLIT``: nothing if a class has no training split, or more than its splits."""
        parts: Parts = {}
        for folder in folders:
            inside = self.folders(folder)
            found = assign(inside, [split_of(item.name) for item in inside])
            known = [item for items in found.values() for item in items]
            if "train" not in found or len(known) < len(inside) or len(found) < len(known):
                return {}
            if self.flat(folder) or any(map(self.folders, known)):
                return {}
            for split, items in found.items():
                parts.setdefault(split, {})[folder.name] = items[0]
        return parts if len(folders) > 1 else {}

    def parts(self, place: Path) -> Parts:
        """The splits or classes directly in ``place``."""
        folders = self._counted(place)
        found = self.splits(folders)
        if not found:
            divided = self.classes_first(folders)
            if not divided:
                self._suspect(place, folders)
                return {"all": {folder.name: folder for folder in folders}}
            return divided
        for split, items in found.items():
            if len(items) > 1:
                raise InputError(
                    f"{place}: {_names(items)} are all named like the {split} split; keep one"
                )
        used = [found[split][0] for split in SPLITS if split in found]
        others = [folder for folder in folders if folder not in used]
        for folder in others:
            name = split_of(folder.name)
            if name is not None:
                raise InputError(
                    f"{folder}: is named like the {name} split but has no class folders; sort "
                    f"its images into the folders of {found['train'][0].name}, or move it away"
                )
        pictures = [folder for folder in others if self.flat(folder) or self.folders(folder)]
        if len(found) == 1 and pictures:
            raise InputError(
                f"{place}: {used[0].name} is named like the training split, and "
                f"{_names(pictures)} beside it like classes; rename {used[0].name} if it is a "
                "class, or move the others away"
            )
        _warn_beside(place, " and ".join(item.name for item in used), pictures)
        parts: Parts = {}
        for split in SPLITS:
            if split in found:
                inner = self._counted(self._inner(found[split][0]))
                parts[split] = {folder.name: folder for folder in inner}
        return parts

    def _counted(self, folder: Path) -> list[Path]:
        """The sub-folders; the files beside them are counted as left out."""
        folders, files = entries(folder, self._left)
        for file in files:
            if self._left.picture(file):
                self._left(LOOSE, file)
        return folders

    def _inner(self, split: Path) -> Path:
        """The folder with the classes of a split: ``seg_train/seg_train`` occurs."""
        inside = self.folders(split)
        if len(inside) == 1 and not self.flat(split) and self.folders(inside[0]):
            name = inside[0].name.lower()
            if name == split.name.lower() or split_of(name) or name in _COMMON:
                return self._inner(inside[0])
        return split

    def _suspect(self, place: Path, folders: Sequence[Path]) -> None:
        """Refuses or warns of class folders that may be splits, or hold splits."""
        named = [folder for folder in folders if split_of(folder.name)]
        sure = len(named) == len(folders) or any(_long(folder) for folder in named)
        if len({split_of(folder.name) for folder in named}) > 1 and sure:
            raise InputError(
                f"{place}: {_names(named)} are named like splits, but none of them is a training "
                "split with one sub-folder a class; sort the images as train/CLASS and "
                "test/CLASS, or rename the folders if they are classes"
            )
        for folder in named:
            if self.folders(folder) and len(folders) > 1:
                raise InputError(
                    f"{folder}: is named like a split, but there is no training split beside it; "
                    f"move the other folders into {place / 'train'}, or rename it if it is a class"
                )
            console.warn(
                f"{folder}: is taken as a class; if it is a split, sort its images into one "
                "sub-folder a class"
            )
        for folder in folders:
            inside = [item for item in self.folders(folder) if split_of(item.name)]
            if any(map(_long, inside)):
                raise InputError(
                    f"{inside[0]}: is named like a split, but not each class of {place} consists "
                    "of splits with a train; sort the images as train/CLASS and test/CLASS, or "
                    "rename it"
                )
        inner = Counter(
            tuple(item.name.lower() for item in self.folders(folder)) for folder in folders
        )
        same = [names for names, count in inner.items() if count > 1 and len(names) > 1]
        words = {word[0] for folder in folders if (word := within(folder.name)) is not None}
        if same:
            alike = [
                folder
                for folder in folders
                if tuple(item.name.lower() for item in self.folders(folder)) == same[0]
            ]
            text = (
                f"{place}: {_names(alike)} are taken as classes, but hold the same sub-folders "
                f"({', '.join(same[0][:4])}); if they are splits, name them train, val and test"
            )
            if words:
                raise InputError(text)
            console.warn(text)
        elif len(words) > 1:
            console.warn(
                f"{place}: {_names(folders)} are taken as classes; if they are splits, name them "
                "train, val and test, with one sub-folder a class"
            )


def _long(folder: Path) -> bool:
    return folder.name.lower() not in _SHORT


def _warn_beside(place: Path, used: str, others: Sequence[Path]) -> None:
    if others:
        console.warn(f"{place}: {_names(others)} beside {used} left out")


def _names(folders: Iterable[Path], most: int = 6) -> str:
    names = [folder.name for folder in folders]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
