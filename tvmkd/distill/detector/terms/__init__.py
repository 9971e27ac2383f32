"""Further losses between a detector and its teacher, one file each: ``[[detection.losses]]``."""

from __future__ import annotations

from tvmkd.distill.detector.terms import crosskd, fgd, ld, mgd, pkd  # registers them
from tvmkd.distill.detector.terms.term import REGISTERED, MapTerm, Seen, Term, register

__all__ = [
    "REGISTERED",
    "MapTerm",
    "Seen",
    "Term",
    "crosskd",
    "fgd",
    "ld",
    "mgd",
    "pkd",
    "register",
]
