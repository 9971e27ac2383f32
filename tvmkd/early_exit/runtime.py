"""Runs the pieces of a network until an exit is confident. Does not need torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.artifact import MANIFEST, Artifact
from tvmkd.base import files
from tvmkd.base.errors import InputError
from tvmkd.base.exits import Rule, rule_error, rule_of
from tvmkd.base.files import read_text, sha256
from tvmkd.early_exit.deadline import PartTime

EXITS = "exits.json"
FIRST, VERSION = 1, 2


@dataclass(frozen=True)
class Piece:
    """One artifact of the network: the folder's name, and the sha256 of its manifest."""

    folder: str
    sha256: str


@dataclass(frozen=True)
class Plan:
    """The contents of ``exits.json``: the pieces in order, and when an image leaves after one.

    A file without temperatures and weights has version 1, which older versions of tvmkd read.
    """

    pieces: tuple[Piece, ...]
    rule: Rule

    def save(self, folder: Path, **more: Any) -> None:
        """Writes the plan to ``folder``, which contains its artifacts.

        Args:
            more: JSON-safe facts for readers; nothing depends on them.
        """
        scaling = self.rule.scaling
        data = {
            "schema_version": VERSION if scaling else FIRST,
            "pieces": [asdict(piece) for piece in self.pieces],
            "thresholds": self.rule.thresholds,
        }
        files.write_json(folder / EXITS, {**data, **scaling, **more})

    @classmethod
    def of(cls, folder: Path, names: Sequence[str], rule: Rule | Sequence[float]) -> Plan:
        """Makes the plan for the artifacts ``names`` in ``folder``; thresholds stand for a rule."""
        pieces = tuple(Piece(name, sha256(folder / name / MANIFEST)) for name in names)
        return cls(pieces, rule if isinstance(rule, Rule) else Rule(tuple(rule)))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Reads and checks a folder's plan.

        Raises:
            InputError: the plan is missing or damaged, or an artifact is not the one in the plan.
        """
        path = folder / EXITS
        try:
            data = json.loads(read_text(path))
            pieces = tuple(Piece(str(p["folder"]), str(p["sha256"])) for p in data["pieces"])
            rule = rule_of(data)
            version = data["schema_version"]
        except FileNotFoundError:
            raise InputError(f"{path}: there is none; tvmkd distill with [early_exit]") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged: {error!r}; distil again") from None
        if version not in range(FIRST, VERSION + 1):
            raise InputError(f"{path}: version {version}; this tvmkd reads {FIRST} to {VERSION}")
        if len(pieces) != len(rule.thresholds) + 1:
            raise InputError(f"{path}: damaged: its thresholds do not fit its pieces")
        if wrong := rule_error(rule):
            raise InputError(f"{path}: damaged: {wrong}; distil again")
        for piece in pieces:
            manifest = folder / piece.folder / MANIFEST
            if Path(piece.folder).name != piece.folder or not manifest.is_file():
                raise InputError(f"{path}: its piece {piece.folder} is not there")
            if sha256(manifest) != piece.sha256:
                raise InputError(f"{manifest}: not the piece that {path} was made for")
        return cls(pieces, rule)


class EarlyExit:
    """A network in pieces. Runs single images: those of a batch would leave at different exits.

    Args:
        pieces: artifacts in order; each except the last returns ``(logits, features)``.
        rule: when each exit but the last is taken; or the thresholds of the largest softmax
            probability alone.

    Attributes:
        rule: as given. The softmax of an exit's logits, divided by its temperature, is calibrated.
        thresholds: those of the rule.
    """

    def __init__(self, pieces: Sequence[Artifact], rule: Rule | Sequence[float]) -> None:
        self.pieces = list(pieces)
        self.rule = rule if isinstance(rule, Rule) else Rule(tuple(rule))
        self.thresholds = list(self.rule.thresholds)
        self._times = [PartTime() for _ in self.pieces]

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, int]:
        """Classifies one image.

        Args:
            image: input of the first piece, float32 ``[1, C, H, W]``.

        Returns:
            logits ``[1, classes]``, and the index of the exit that computed them, from 0.

        Raises:
            InputError: another shape or dtype.
        """
        values, guesses = image, list[int]()
        for index, piece in enumerate(self.pieces[:-1]):
            logits, values = piece.run([values])
            if self.rule.leaves(index, logits[0], guesses):
                return logits, index
        return self.pieces[-1].run([values])[0], len(self.pieces) - 1

    def run_until(self, image: np.ndarray, deadline: int) -> tuple[np.ndarray, int]:
        """Classifies one image before a deadline: where the time is short, at an earlier exit.

        It stops at a confident exit, as a call does, or where the next piece is not expected to be
        done in time: the longest of its last runs counts (`tvmkd.early_exit.deadline`). The first
        piece always runs.

        Args:
            image: as of a call.
            deadline: nanoseconds of ``time.monotonic_ns``.

        Returns:
            logits, and the exit, as of a call.

        Raises:
            InputError: another shape or dtype.
        """
        values, logits, guesses = image, image, list[int]()
        for index, piece in enumerate(self.pieces):
            begin = monotonic_ns()
            if index and not self._times[index].fits(deadline - begin):
                return logits, index - 1
            logits, *more = piece.run([values])
            self._times[index].took(monotonic_ns() - begin, deadline - begin)
            if index + 1 < len(self.pieces):
                (values,) = more
                if self.rule.leaves(index, logits[0], guesses):
                    return logits, index
        return logits, len(self.pieces) - 1


def load(folder: str | Path) -> EarlyExit:
    """Checks and loads the pieces in a folder written by ``tvmkd distill``.

    Raises:
        InputError: the folder has no plan, or a piece is damaged, changed, or not for this machine.
        MissingError: the TVM that a piece needs is not installed.
    """
    plan = Plan.read(Path(folder))
    pieces = [artifact.load(Path(folder) / piece.folder) for piece in plan.pieces]
    return EarlyExit(pieces, plan.rule)
