"""Reads ``[search.space]``: which parameters there are, and which apply to which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd import config
from tvmkd.base import user_code
from tvmkd.base.errors import InputError
from tvmkd.config.overlay import SHORT, Overlay
from tvmkd.config.values import Values
from tvmkd.search.parameters import Parameter, text_of
from tvmkd.search.signatures import Signature, models_with, signature, stages_of
from tvmkd.search.structure import ARGS

if TYPE_CHECKING:
    from tvmkd.config import Config

MULTIPLE = 4
"""Channel counts that are tried for their efficiency are multiples of this, if the target's own
multiple is not smaller: a vector register of NEON and of SSE holds four values."""

# Parameters that others depend on come first.
_FIRST = tuple(SHORT[name] for name in ("model", "precision", "exits", "prune"))


def read(
    cfg: Config, multiple: int, search_in: Sequence[Path]
) -> tuple[list[Parameter], dict[str, Signature]]:
    """The parameters of a file's space, and the signatures of its models.

    Args:
        cfg: the whole file.
        multiple: the target's channel multiple.
        search_in: folders to look in for a ``module:callable``.

    Raises:
        InputError: there is no space, a model is not there, or a parameter applies to none.
    """
    if cfg.search is None:
        raise InputError("there is no [search.space]: name the parameters to search over in it")
    overlay = Overlay(config.Config)
    space = {name: (overlay.path_of(name), values) for name, values in cfg.search.space.items()}
    names = {path: name for name, (path, _) in space.items()}
    models = _models(cfg, names)
    signatures = {spec: signature(spec, search_in) for spec in models}
    found: list[Parameter] = []
    for name, (path, values) in sorted(space.items(), key=lambda item: _rank(item[1][0])):
        try:
            needs = _section_needs(path, cfg, names)
            if path.startswith(ARGS):
                found += _of_the_model(name, path, values, cfg, signatures, names, multiple)
                continue
            chosen = [spec for spec in values.only or models if _changeable(path, values, spec)]
            if not chosen:
                raise InputError(f"{_UNCHANGEABLE}, not {', '.join(values.only or models)}")
            needs = {**needs, **_of_models(chosen, names, models)}
            found.append(Parameter(name, path, values, needs=needs))
        except InputError as error:
            raise InputError(f"search.space.{name}: {error}") from None
    return found, signatures


def _rank(path: str) -> int:
    return _FIRST.index(path) if path in _FIRST else len(_FIRST)


_UNCHANGEABLE = "is for models of tvmkd, torchvision and timm"


def _changeable(path: str, values: Values, spec: str) -> bool:
    """Whether a parameter may change a model: no checkpoint of user code is pruned or quantised."""
    if not user_code.is_own(spec):
        return True
    changes = path in (SHORT["prune"], SHORT["exits"])
    return not changes and not (path == SHORT["precision"] and "int8" in (values.choices or []))


def _models(cfg: Config, names: Mapping[str, str]) -> list[str]:
    assert cfg.search is not None
    name = names.get(SHORT["model"])
    if name is None:
        return [cfg.student.model]
    values = cfg.search.space[name].listed() or []
    if not all(isinstance(value, str) for value in values):
        raise InputError(f"search.space.{name}: names of models are texts")
    return [str(value) for value in values]


def _of_models(
    chosen: Sequence[str], names: Mapping[str, str], models: Sequence[str]
) -> dict[str, frozenset[str]]:
    """The need for one of some models; none where the space has no other."""
    if set(chosen) == set(models):
        return {}
    return {names[SHORT["model"]]: frozenset(text_of(spec) for spec in chosen)}


def _of_the_model(
    name: str,
    path: str,
    values: Values,
    cfg: Config,
    signatures: Mapping[str, Signature],
    names: Mapping[str, str],
    multiple: int,
) -> list[Parameter]:
    """The parameters of an argument: one, or one a stage."""
    argument = path.removeprefix(ARGS).partition(".")[0]
    having = models_with(argument, signatures, values.only)
    fine = None
    if values.channels is not None:
        absent = [spec for spec in having if "multiple" not in signatures[spec].names]
        if absent:
            raise InputError(
                f'channels = "efficient" needs a model with an argument multiple, and {absent[0]} '
                "has none"
            )
        fine = values.multiple or min(MULTIPLE, multiple)
    if not values.per_stage:
        needs = _of_models(having, names, list(signatures))
        return [Parameter(name, path, values, multiple=fine, needs=needs)]
    counts = {}
    for spec in having:
        args = cfg.student.args if spec == cfg.student.model else {}
        known = values.per_stage is True
        counts[spec] = stages_of(spec, signatures[spec], args) if known else int(values.per_stage)
    return [
        Parameter(
            f"{name}.{index}",
            path,
            values,
            index,
            needs=_of_models(
                [spec for spec in having if counts[spec] > index], names, list(signatures)
            ),
        )
        for index in range(max(counts.values()))
    ]


def _section_needs(path: str, cfg: Config, names: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """What a parameter of an optional section needs, such as int8 for ``quantize.keep_fp32``.

    Raises:
        InputError: no network of the space has the section.
    """
    assert cfg.search is not None
    control = _control(path)
    if control is None:
        return {}
    name = names.get(SHORT[control])
    if name is None:
        if not _fits(path, _given(control, cfg)):
            raise InputError(f"no network has this key: give {control} too")
        return {}
    listed = cfg.search.space[name].listed()
    if listed is None:  # a range: shares of channels above 0
        return {}
    allowed = [value for value in listed if _fits(path, value)]
    if not allowed:
        raise InputError(f"no value of {control} has this key")
    return {} if len(allowed) == len(listed) else {name: frozenset(map(text_of, allowed))}


def _control(path: str) -> str | None:
    """The parameter, by its short name, that decides whether a network has a key."""
    section = path.partition(".")[0]
    if path in SHORT.values():
        return None
    if path == "export.keep_fp32" or section == "quantize":
        return "precision"
    return {"prune": "prune", "early_exit": "exits"}.get(section)


def _given(control: str, cfg: Config) -> Any:
    """What the file itself says for such a parameter."""
    if control == "precision":
        return cfg.export.precision
    return (cfg.prune if control == "prune" else cfg.early_exit) is not None


def _fits(path: str, value: Any) -> bool:
    """Whether a network has a key, by the value of its `_control`."""
    if _control(path) == "precision":
        return bool(value == ("fp16" if path == "export.keep_fp32" else "int8"))
    return bool(value)
