"""The winner of a search as files to go on with: ``winner/tvmkd.toml`` and its weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from tvmkd import config
from tvmkd.base import engine_registry, user_code
from tvmkd.base.errors import InputError
from tvmkd.base.files import draft, write_text
from tvmkd.base.toml_text import dumps
from tvmkd.search.gate import is_tuned_tvm
from tvmkd.search.page.wording import Wording, structure
from tvmkd.search.results import Point, Study
from tvmkd.tuning.records import holds_records

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.search.space import Space

WINNER = "winner"
"""The folder, in that of the search."""


def write(
    study: Study,
    cfg: Config,
    space: Space,
    folder: Path,
    *,
    teacher: Path | None = None,
) -> Path:
    """Writes the winner's files; ``tvmkd run`` goes on from them and trains nothing again.

    ``tvmkd.toml`` is the search's file with the winner's structure, its weights as
    ``[student] checkpoint``, the kernels of the latency table as ``[tune] records``, and the budget
    as a rule of ``[gate]`` where the file has none. Its paths are absolute: it is valid from any
    folder.

    Args:
        study: with a winner that has a checkpoint.
        cfg: the search's file.
        space: whose structures the points have.
        folder: the search's folder.
        teacher: the weights of a teacher that the search trained; later stages learn from it.

    Returns:
        the ``tvmkd.toml``.

    Raises:
        InputError: the study has no winner, its weights are gone, or a file cannot be written.
    """
    won = next((point for point in study.points if point.number == study.winner), None)
    if won is None:
        raise InputError(f"the search {study.name} has no winner: there is nothing to write")
    weights = None if won.checkpoint is None else folder / won.checkpoint
    if weights is None or not weights.is_file():
        raise InputError(f"trial {won.number}, the winner: its weights ({weights}) are gone")
    one = space.apply(cfg, won.structure)
    place = Path(os.path.abspath(folder / WINNER))
    data = _absolute(one, one.model_dump(mode="json", exclude_unset=True))
    data["project"] = {**data["project"], "out": str(place / "run")}
    data.setdefault("student", {})["checkpoint"] = str(place / "student.pt")
    if teacher is not None and one.distill.loss != "ce":
        section = data.setdefault("teacher", {})
        section["checkpoint"] = str(place / "teacher.pt")
        if not one.teacher.ensemble:
            section.pop("stop_at", None)  # it is trained
    data.setdefault("distill", {}).update(seeds=[won.seed], baseline=False)
    table = study.table.get("folder")
    if table is not None and holds_records(Path(table)):
        tune = data.setdefault("tune", {})
        tune["records"] = [*tune.get("records", ()), os.path.abspath(table)]
    rule = requirement(study, one)
    if rule is not None:
        data["gate"] = {"require": [rule]}
    config.parse(data, str(place / "tvmkd.toml"))  # what is written must be read
    _copy_weights(weights, place / "student.pt")
    if teacher is not None:
        _copy_weights(teacher, place / "teacher.pt")
    _copy_code(one, space.search_in, place)
    write_text(place / "tvmkd.toml", _head(study, won, place) + dumps(_ordered(data)))
    return place / "tvmkd.toml"


def requirement(study: Study, cfg: Config) -> str | None:
    """The budget as an expression of ``[gate]``.

    None without a budget in milliseconds, where the file has requirements, or where no engine that
    it compares runs what TVM has tuned.
    """
    if study.budget is None or study.unit != "ms" or cfg.gate.require:
        return None
    engine = next(filter(is_tuned_tvm, cfg.compare.engines), None)
    return None if engine is None else f"{engine}.p50 <= {study.budget:.6g}ms"


def _head(study: Study, won: Point, place: Path) -> str:
    words, how = Wording(study), f"{study.method}, objective {study.objective}"
    lines = [
        f"Trial {won.number}, the winner of the search {study.name} ({how}) for {study.target}.",
        f"{study.metric} and latency: {words.summary(won)}.",
        f"Its structure: {structure(won.structure)}.",
        f"Written by tvmkd {study.tvmkd_version}. It is not trained again by",
        f"tvmkd run --config {place / 'tvmkd.toml'}",
    ]
    # A comment must not hold control characters, and names come from outside.
    plain = ("".join(c for c in " ".join(line.split()) if c.isprintable()) for line in lines)
    return "".join(f"# {line}\n" for line in plain) + "\n"


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    """The sections in the order of the schema, as people know them from other files."""
    return {name: data[name] for name in config.Config.model_fields if name in data}


def _absolute(model: BaseModel, data: dict[str, Any]) -> dict[str, Any]:
    """The dumped data of a section with its paths absolute, and the target's if it is a file."""
    for name in list(data):
        value = getattr(model, name)
        if isinstance(value, Path):
            data[name] = os.path.abspath(value)
        elif isinstance(value, list) and all(isinstance(each, Path) for each in value):
            data[name] = [os.path.abspath(each) for each in value]
        elif isinstance(value, BaseModel):
            data[name] = _absolute(value, data[name])
        elif isinstance(value, list) and all(isinstance(each, BaseModel) for each in value):
            pairs = zip(value, data[name], strict=True)
            data[name] = [_absolute(each, part) for each, part in pairs]
    if isinstance(model, config.TargetRef) and Path(model.name).is_file():
        data["name"] = os.path.abspath(model.name)
    return data


def _copy_weights(source: Path, to: Path) -> None:
    """Copies a checkpoint without what resumes its training; other files as they are."""
    from tvmkd.models import checkpoint

    try:
        known = checkpoint.load(source)
    except InputError:
        with draft(to) as written:
            shutil.copyfile(source, written)
        return
    checkpoint.save(to, replace(known, optimizer=None))


def _copy_code(cfg: Config, search_in: Sequence[Path], place: Path) -> None:
    """Copies the user's modules beside the file: a ``module:callable`` is looked for there."""
    for module in _modules(cfg):
        for folder in (Path(), *search_in):
            source = folder / f"{module}.py"
            if source.is_file():
                with draft(place / source.name) as written:
                    shutil.copyfile(source, written)
                break
            package = folder / module
            if package.is_dir():
                whole = (package / "__init__.py").is_file()
                ignored = shutil.ignore_patterns("__pycache__") if whole else _no_code
                shutil.copytree(package, place / module, ignore=ignored, dirs_exist_ok=True)
                break


def _no_code(folder: str, names: list[str]) -> list[str]:
    """Of a package without ``__init__.py``, which may be any folder: all but its modules."""
    places = {name: Path(folder, name) for name in names}
    return [
        name
        for name, path in places.items()
        if name == "__pycache__" or not (path.suffix == ".py" or path.is_dir())
    ]


def _modules(cfg: Config) -> Iterator[str]:
    """The top names of the user's modules that a config names."""
    specs = [cfg.student.model, *cfg.teacher.specs, cfg.data.task or ""]
    specs += [cfg.distill.loss, cfg.distill.latency, *(term.loss for term in cfg.distill.logits)]
    engines = [name for name in cfg.compare.engines if name not in engine_registry.ENGINES]
    for spec in [*specs, *engines]:
        module, colon, _ = spec.partition(":")
        if colon and module not in user_code.LIBRARIES:
            yield module.partition(".")[0]
