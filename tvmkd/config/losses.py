"""Losses by name, and what they are made with where ``[distill]`` does not say."""

from __future__ import annotations

from tvmkd.base.text import suggest_or_own

LOSSES = ("kd", "dkd", "dist", "mlkd", "nkd", "mse", "ce")
"""Names for ``[distill] loss``. Those with a teacher are registered in
tvmkd.distill.logit_losses, which would load torch here; a test compares."""

_OWN = {
    "dist": {"alpha": 0.5, "beta": 2.0, "temperature": 1.0},
    "nkd": {"alpha": 0.5, "temperature": 1.0},
    "mse": {"alpha": 0.1},
}
_UNREAD = {
    "kd": {"beta"},
    "nkd": {"beta"},
    "mlkd": {"beta", "temperature"},
    "mse": {"beta", "temperature"},
}
_STANDARDIZED = {"alpha": 0.011, "temperature": 2.0}


def defaults(loss: str, standardize: bool) -> dict[str, float]:
    """Values of keys of ``[distill]`` that are the paper's of a loss, not those of the section.

    Standardised, the divergences are so small that Sun et al. (2024) weigh them 9 to the labels'
    0.1, at a base temperature of 2.
    """
    own = _OWN.get(loss, {})
    return {**own, **_STANDARDIZED} if standardize and loss in ("kd", "dkd", "mlkd") else own


def unread(loss: str) -> set[str]:
    """Which of the keys ``beta`` and ``temperature`` of ``[distill]`` a loss with a teacher has no
    use for; none of one's own."""
    return _UNREAD.get(loss, set())


def checked(name: str) -> str:
    """The name of a loss with a teacher or of ``ce``, or a ``module:callable``.

    Raises:
        ValueError: it is neither.
    """
    if name not in LOSSES and ":" not in name:
        raise ValueError(f'there is no loss "{name}"' + suggest_or_own(name, LOSSES))
    return name
