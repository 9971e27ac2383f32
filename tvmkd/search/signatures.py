"""Which arguments a model has, so that a parameter is set where it applies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError
from tvmkd.base.text import suggest


@dataclass(frozen=True)
class Signature:
    """The arguments of a model.

    Attributes:
        names: those that it names.
        others: whether it takes others, by ``**kwargs``.
        stages: from its arguments to its number of stages; None: not known.
    """

    names: tuple[str, ...]
    others: bool
    stages: Callable[..., int] | None = None


def signature(spec: str, search_in: Sequence[Path] = ()) -> Signature:
    """The arguments of a model, without building it.

    Args:
        spec: as for `tvmkd.models.build`.
        search_in: folders to look in for a ``module:callable``.

    Raises:
        InputError: there is no such model.
    """
    from tvmkd.models import registry

    factory = registry.factory(spec, search_in)
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a callable of C code has none
        return Signature((), True)
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return Signature(
        tuple(each.name for each in parameters if each.kind in plain),
        any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters),
        getattr(factory, "stages", None),
    )


def models_with(
    argument: str, signatures: Mapping[str, Signature], only: Sequence[str]
) -> list[str]:
    """The models that a parameter applies to.

    Those of ``only``; without it, those that name the argument. Models that take any argument have
    it where no other model names it.

    Args:
        argument: its name.
        signatures: of the models of the space.
        only: models that the space names for the parameter.

    Raises:
        InputError: no model has it, or one of ``only`` does not.
    """
    named = [spec for spec, known in signatures.items() if argument in known.names]
    opened = [spec for spec, known in signatures.items() if known.others]
    for spec in only:
        if spec not in named and spec not in opened:
            raise InputError(
                f"{spec} has no argument {argument}{_known([signatures[spec]], argument)}"
            )
    found = list(only) or named or opened
    if not found:
        models = ", ".join(signatures)
        raise InputError(
            f"{models} {'have' if len(signatures) > 1 else 'has'} no argument {argument}"
            f"{_known(signatures.values(), argument)}"
        )
    return found


def stages_of(spec: str, known: Signature, args: Mapping[str, Any]) -> int:
    """The number of stages of a registered model.

    Raises:
        InputError: it has none that are known.
    """
    if known.stages is None:
        raise InputError(
            f"per_stage = true is for models whose stages are known, and those of {spec} are not; "
            "give their number"
        )
    taken = inspect.signature(known.stages).parameters
    return known.stages(**{name: value for name, value in args.items() if name in taken})


def _known(signatures: Iterable[Signature], argument: str) -> str:
    names = list(dict.fromkeys(name for known in signatures for name in known.names))
    return suggest(argument, names) or f"; there are {', '.join(names)}"
