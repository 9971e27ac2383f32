"""Sets values in the data of a ``tvmkd.toml`` by the paths of its keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from tvmkd.base.text import suggest

SHORT = {
    "model": "student.model",
    **{name: f"student.args.{name}" for name in ("width", "depth", "kernel", "expansion")},
    "resolution": "data.image_size",
    "exits": "early_exit.exits",
    "prune": "prune.ratio",
    "precision": "export.precision",
}
"""Short names of paths that most searches have."""

_SAME = ("project", "target", "tune", "compare", "gate", "search", "teacher.checkpoint")
"""What is the same for all networks of a search: the run itself, and what they are measured on."""
_DATA = ("image_size", "batch_size", "augment", "camera")
"""Keys of ``[data]`` that may differ: scores on other splits could not be compared."""


class Overlay:
    """The keys of a schema, and how to set them.

    Args:
        schema: the model of the whole file.
    """

    def __init__(self, schema: type[BaseModel]) -> None:
        self._types = dict(_keys(schema))

    def path_of(self, name: str) -> str:
        """The path that a parameter's name stands for: itself, unless it is a short name.

        Raises:
            ValueError: there is no such key, or it is the same for all networks of a search.
        """
        path = SHORT.get(name, name)
        if path not in self._types and not self._free(path):
            hint = suggest(name, [*SHORT, *self._types])
            raise ValueError(f"is no key of a tvmkd.toml{hint or '; known: ' + ', '.join(SHORT)}")
        section, _, key = path.partition(".")
        if any(path == same or path.startswith(f"{same}.") for same in _SAME):
            raise ValueError(f"{path} is the same for all networks of a search")
        if section == "data" and key.partition(".")[0] not in _DATA:
            raise ValueError(f"{path} changes the data: networks could not be compared")
        return path

    def put(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """Sets keys of a file's data, in place, so that it describes one network.

        A section that a value needs is made, and one that it rules out goes: a precision other than
        int8 leaves out ``[quantize]``, ``early_exit.exits = false`` and ``prune.ratio = 0`` their
        sections. ``false`` leaves out a key that has no value by default. ``prune.ratio`` is the
        share of the channels that go in all: in one step.

        Args:
            data: as read from a ``tvmkd.toml``.
            values: by path.

        Raises:
            ValueError: a path goes through a value that is no table.
        """
        # The precision first: it makes or removes the section that other values are in.
        for path in sorted(values, key=lambda path: path != SHORT["precision"]):
            value = values[path]
            section, _, key = path.partition(".")
            if (path == SHORT["exits"] and value is False) or (
                path == SHORT["prune"] and value == 0
            ):
                data.pop(section, None)
                continue
            place = data.setdefault(section, {})
            *parts, last = key.split(".")
            for part in parts:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    raise ValueError(f"{path}: {part} is {place!r} in the file, and no table")
            if value is False and self._may_be_absent(path):
                place.pop(last, None)
            else:
                place[last] = value
            if path == SHORT["prune"]:
                # The search has decided: a run must not put the channels back.
                place.update(steps=1, max_drop=place.get("max_drop", 1.0))
            elif path == SHORT["precision"]:
                _fit_precision(data, value)

    def _free(self, path: str) -> bool:
        """True below a table of free content, such as ``student.args``."""
        parts = path.split(".")
        tables = (".".join(parts[:count]) for count in range(1, len(parts)))
        return all(parts) and any(get_origin(self._types.get(table)) is dict for table in tables)

    def _may_be_absent(self, path: str) -> bool:
        kinds = get_args(self._types.get(path))
        return type(None) in kinds and bool not in kinds


def _leaves_out(path: str, value: Any) -> bool:
    """Whether a value says that its section does not apply."""
    return (path == SHORT["exits"] and value is False) or (path == SHORT["prune"] and value == 0)


def _fit_precision(data: dict[str, Any], precision: Any) -> None:
    if precision == "int8":
        data.setdefault("quantize", {})
    else:
        data.pop("quantize", None)
    if precision != "fp16":
        data["export"].pop("keep_fp32", None)


def _keys(schema: type[BaseModel], place: str = "") -> Iterator[tuple[str, Any]]:
    """Path and type of each key that is no section."""
    for name, field in schema.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if models and get_origin(field.annotation) is not list:
            yield from _keys(models[0], f"{place}{name}.")
        else:
            yield f"{place}{name}", field.annotation
