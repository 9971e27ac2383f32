"""Losses of classifiers: made from ``[distill]``, identified, and those without a teacher.

A registered one is one file in `tvmkd.distill.logit_losses`; a user's is any callable. Each takes
float logits ``[N, classes]`` (the student's first, where there are two) and int64 labels ``[N]``,
and returns a float32 scalar: the mean over the batch, or a weighted one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch.nn.functional as F  # noqa: N812 - what torch users call it
from pydantic import ValidationError
from torch import Tensor

from tvmkd.base import user_code
from tvmkd.base.errors import InputError
from tvmkd.base.files import source_hash
from tvmkd.base.text import suggest
from tvmkd.config.losses import defaults
from tvmkd.distill import loss_parts
from tvmkd.distill.logit_losses.base import REGISTERED, LogitLoss, SoftLoss, divergence, register
from tvmkd.distill.logit_losses.dist import DIST
from tvmkd.distill.logit_losses.dkd import DKD
from tvmkd.distill.logit_losses.kd import KD
from tvmkd.distill.logit_losses.mlkd import MLKD
from tvmkd.distill.logit_losses.mse import MSE
from tvmkd.distill.logit_losses.nkd import NKD
from tvmkd.distill.logit_losses.standardized import Standardized
from tvmkd.distill.task import Batch

if TYPE_CHECKING:
    from tvmkd.config import Distill
    from tvmkd.config.sections import Logits

__all__ = [
    "DIST",
    "DKD",
    "KD",
    "MLKD",
    "MSE",
    "NKD",
    "REGISTERED",
    "LogitLoss",
    "SoftLoss",
    "Standardized",
    "cross_entropy",
    "identity",
    "imitation",
    "inner",
    "make",
    "make_term",
    "reads_all_logits",
    "register",
]

OF_PROBABILITIES = ("kd", "dkd", "dist", "mlkd", "nkd")
"""Losses that see the teacher's logits through a softmax alone."""


def make(cfg: Distill, search_in: Sequence[Path] = ()) -> LogitLoss:
    """The logit loss that ``[distill] loss`` names: a registered name or a ``module:callable``.

    A class is made with ``loss_args`` and with those of ``alpha``, ``beta`` and ``temperature``
    that its signature has; a function is the loss itself and gets them with each call.

    Args:
        cfg: the section.
        search_in: folders to look in for a ``module:callable``.

    Raises:
        InputError: there is no such callable, it does not accept these arguments, or it cannot be
            standardised.
    """
    known = {"alpha": cfg.alpha, "beta": cfg.beta, "temperature": cfg.temperature}
    made = _made(cfg.loss, known, cfg.loss_args, "loss", search_in, cfg.standardize)
    if cfg.hard_mining > 0:
        _check_weights(made, f'[distill] loss "{cfg.loss}"')
    if cfg.optimizer == "dot" and not hasattr(made, "parts"):
        raise InputError(
            f'[distill] loss "{cfg.loss}": optimizer = "dot" needs a loss in two parts: make it a '
            "subclass of tvmkd.distill.losses.SoftLoss, or give it a method parts"
        )
    return made


def make_term(
    cfg: Logits, search_in: Sequence[Path] = (), *, mined: bool = False
) -> Callable[..., Tensor]:
    """The loss of an entry of ``[[distill.logits]]``: without the labels' part where it has one.

    Args:
        cfg: the entry.
        search_in: as for `make`.
        mined: images have weights.

    Raises:
        InputError: as `make`.
    """
    own = defaults(cfg.loss, cfg.standardize)
    known = {"temperature": own["temperature"]} if "temperature" in own else {}
    made = _made(cfg.loss, known, cfg.args, "logits", search_in, cfg.standardize)
    found: Callable[..., Tensor] = made.distance if isinstance(made, SoftLoss) else made
    if mined:
        _check_weights(found, f'[distill] logits "{cfg.loss}"')
    return found


def _made(
    name: str,
    known: Mapping[str, Any],
    args: Mapping[str, Any],
    key: str,
    search_in: Sequence[Path],
    standardize: bool,
) -> LogitLoss:
    """A loss by its name.

    Args:
        name: registered, or ``module:callable``.
        known: arguments that it gets if it has them.
        args: arguments that it must have.
        key: of ``[distill]``, for messages.
        search_in: folders.
        standardize: its logits.
    """
    what = f'[distill] {key} "{name}"'
    found: Callable[..., Any] | None = REGISTERED.get(name)
    if found is not None:
        _check_names(what, list(inspect.signature(found).parameters), args)
    loss = found or user_code.load(name, what, search_in)
    try:
        taken = inspect.signature(loss).parameters
        own = {each: value for each, value in known.items() if each in taken}
        own.update(args)
        made: Any = loss(**own) if inspect.isclass(loss) else functools.partial(loss, **own)
        inspect.signature(made).bind(None, None, None)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise InputError(f"{what}: {place}: {problem['msg']}, got {problem['input']!r}") from None
    except Exception as error:  # a user's code may fail in any way
        raise InputError(f"{what}: {user_code.describe(error, __file__)}") from error
    if not standardize:
        return cast("LogitLoss", made)
    if not isinstance(made, SoftLoss):
        raise InputError(
            f"{what}: standardize is for registered losses and for subclasses of "
            "tvmkd.distill.losses.SoftLoss: of another, the labels' part cannot be left out of it"
        )
    return Standardized(made)


def _check_weights(made: Callable[..., Tensor], what: str) -> None:
    try:
        inspect.signature(made).bind(None, None, None, weights=None)
    except TypeError:
        raise InputError(
            f"{what}: has no argument weights, which hard_mining gives it: float32 [N], how much "
            "each image counts; add it, or leave hard_mining out"
        ) from None


def _check_names(what: str, known: Sequence[str], args: Mapping[str, Any]) -> None:
    for name in args:
        if name not in known:
            hint = suggest(name, known) or f"; known: {', '.join(known)}"
            raise InputError(f'{what}: it has no argument "{name}"{hint}')


def inner(loss: Callable[..., Tensor]) -> object:
    """What `make` or `make_term` made a loss of: an object of the loss's class, or a function."""
    owner = getattr(loss, "__self__", loss)
    return owner.loss if isinstance(owner, Standardized) else owner


def reads_all_logits(cfg: Distill) -> bool:
    """Whether a loss reads the logits of unlikely classes themselves, not their probabilities.

    Those that do not can learn from the likeliest ones and one number for the others.
    """
    entries: list[Distill | Logits] = [cfg, *cfg.logits]
    return any(entry.standardize or entry.loss not in OF_PROBABILITIES for entry in entries)


def identity(cfg: Distill, search_in: Sequence[Path] = ()) -> dict[str, Any]:
    """Everything that determines the loss, JSON-safe; for checkpoints."""
    elsewhere = {"epochs", "lr", "weight_decay", "ema", "optimizer", "momentum", "delta"}
    elsewhere |= {"seeds", "baseline", "latency", "latency_weight", "watch", "watch_every"}
    if cfg.curriculum == "none":
        elsewhere |= {"curriculum_start", "curriculum_full_at"}
    found = cfg.model_dump(mode="json", exclude=elsewhere)
    for name in ("loss_args", "standardize", "logits", "views"):
        if not found[name]:
            del found[name]  # as in checkpoints from before there was one
    code = source_hash(cfg.loss, search_in)
    codes = [source_hash(term.loss, search_in) for term in cfg.logits]
    if any(codes):
        found["codes"] = codes
    return found if code is None else {**found, "code": code}


def cross_entropy(batch: Batch, logits: Tensor) -> Tensor:
    """Labels alone: how teachers and baselines are trained."""
    return loss_parts.note("labels", F.cross_entropy(logits.float(), batch.labels))


def imitation(logits: Tensor, answer: Tensor) -> Tensor:
    """How far logits are from those of another network: KL(answer ‖ logits) of probabilities."""
    target = F.log_softmax(answer.detach().float(), dim=1)
    return divergence(F.log_softmax(logits.float(), dim=1), target).mean()
