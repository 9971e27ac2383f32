"""Shapes students for a target: implements `tvmkd.distill.shaping.Shaper` and ``Shaping``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tvmkd import models
from tvmkd.base import console, files
from tvmkd.base.errors import InputError
from tvmkd.distill.shaping import Shaped
from tvmkd.distill.task import Loss, Task
from tvmkd.distill.training import AfterCheckpoint
from tvmkd.search.latency.prediction import Latency
from tvmkd.search.soft import survey
from tvmkd.search.soft.choices import Choice, Structure, home
from tvmkd.search.soft.cut import cut, recipe
from tvmkd.search.soft.differences import Differences, Expected
from tvmkd.search.soft.find import find
from tvmkd.search.soft.gates import Gates
from tvmkd.search.soft.loss import ShapingLoss
from tvmkd.search.soft.survey import Survey

if TYPE_CHECKING:
    from rich.progress import Progress


class LatencyShaper:
    """Makes students whose structure is learnt with the expected latency in the loss.

    Args:
        latency: the predictor. Only the leader of a team asks it.
        table: identifies what the predictor's answers come from.
        weight: λ: what the latency of the whole network counts in the loss; above 0.
        folder: gets ``differences.json``, so that the predictor is asked once.
        multiple: channel counts are multiples of it.
        kinds: what may be taken out: ``width`` (channels), ``depth`` (blocks) or both.
        progress: shows what is asked.
        watch: called after checkpoints with the network that would be cut out now.
    """

    def __init__(
        self,
        latency: Latency,
        table: str,
        weight: float,
        folder: Path,
        multiple: int,
        kinds: Sequence[str] = ("width", "depth"),
        progress: Progress | None = None,
        watch: AfterCheckpoint | None = None,
    ) -> None:
        self.latency, self.table, self.weight = latency, table, weight
        self.folder, self.multiple, self.kinds = folder, multiple, tuple(kinds)
        self.progress, self.watch = progress, watch
        self._tell: Callable[[str], None] = _nothing if progress is None else console.say

    def soften(
        self, network: nn.Module, model: Mapping[str, Any], task: Task, pace: float, leader: bool
    ) -> SoftNetwork:
        """See `tvmkd.distill.shaping.Shaper`.

        Raises:
            InputError: the model is a user's own, Torch-Pruning cannot follow it, there is nothing
                to choose, or it cannot be exported or compiled.
        """
        if not models.is_builtin(model["spec"]):
            raise InputError(
                f'[distill] latency = "table" shapes students of tvmkd, torchvision or timm, not '
                f'"{model["spec"]}": a shaped checkpoint names the model to rebuild, and a file '
                "must not choose which code runs"
            )
        shape = task.input_shape
        fixed = task.fixed_outputs(network)
        tell, self._tell = self._tell, _nothing  # it is the same for each seed
        choices = find(network, model, shape, fixed, self.multiple, self.kinds, tell)
        plain = copy.deepcopy(network)  # without hooks
        known = self._survey(plain, model, shape, choices, leader)
        return SoftNetwork(self, network, plain, model, shape, known, pace, leader)

    def _survey(
        self,
        network: nn.Module,
        model: Mapping[str, Any],
        shape: Sequence[int],
        choices: Sequence[Choice],
        leader: bool,
    ) -> Survey:
        path = self.folder / survey.FILE
        key = survey.identity(model, shape, choices, self.table)
        found = survey.saved(path, key, choices)
        if found is None:
            if not leader:
                raise InputError(f"{path}: is not of this training; start all processes again")
            self.folder.mkdir(parents=True, exist_ok=True)
            answers = self.folder / survey.ANSWERS
            ask = survey.Asker(self.latency, network, choices, shape, answers, key)
            found = survey.make(ask, choices, self.progress)
            survey.save(path, key, found)
        return found


class SoftNetwork:
    """The choices about one student, soft: implements `tvmkd.distill.shaping.Shaping`.

    Args:
        shaper: what made it.
        network: gets the hooks.
        plain: a copy of it without hooks.
        model: ``{"spec", "kwargs"}`` that it was built from.
        shape: of one input, batch first.
        known: the latencies of its structures.
        pace: see `Gates`.
        leader: whether this process may ask the predictor.
    """

    def __init__(
        self,
        shaper: LatencyShaper,
        network: nn.Module,
        plain: nn.Module,
        model: Mapping[str, Any],
        shape: Sequence[int],
        known: Survey,
        pace: float,
        leader: bool,
    ) -> None:
        self._shaper, self._network, self._plain = shaper, network, plain
        self._model, self._shape = dict(model), tuple(shape)
        self._known, self._leader = known, leader
        self.gates = Gates(network, known.differences.choices, pace)

    @property
    def _differences(self) -> Differences:
        return self._known.differences

    @property
    def identity(self) -> dict[str, Any]:
        """The latencies and λ."""
        data = files.key("latencies", **self._differences.to_dict())
        return {"weight": self._shaper.weight, "latencies": data}

    @property
    def after_checkpoint(self) -> AfterCheckpoint | None:
        """Shows the watcher what would be cut out now."""
        watch = self._shaper.watch
        if watch is None:
            return None
        return lambda path, epoch, _network: watch(path, epoch, self._cut(self._structure()))

    def loss(self, inner: Loss) -> nn.Module:
        """The task's loss and λ times the expected latency, as a share of the whole network's."""
        return ShapingLoss(inner, self.gates, Expected(self._differences), self._shaper.weight)

    def shaped(self) -> Shaped:
        """The likeliest structure, with the weights that the network has now."""
        structure = self._structure()
        made = recipe(self._model, self._shape, self._differences.choices, structure)
        network = models.build(made["spec"], **made["kwargs"])
        network.load_state_dict(self._cut(structure).state_dict())
        return Shaped(network, made, self._facts(network, structure))

    def _structure(self) -> Structure:
        """The likeliest structure; only what is less than whole, and nothing in blocks that go."""
        choices = self._differences.choices
        likeliest = self.gates.likeliest()
        found = {}
        for choice, block in zip(choices, home(choices), strict=True):
            hidden = block is not None and likeliest[choices[block].name] == 0
            if likeliest[choice.name] != choice.options[0] and not hidden:
                found[choice.name] = likeliest[choice.name]
        return found

    def _cut(self, structure: Structure) -> nn.Module:
        self._plain.load_state_dict(self._network.state_dict())
        return cut(self._plain, self._differences.choices, structure)

    def _facts(self, network: nn.Module, structure: Structure) -> dict[str, Any]:
        known, choices = self._differences, self._differences.choices
        estimated = known.of(structure)
        facts = {
            "structure": dict(structure),
            "options": {choice.name: list(choice.options) for choice in choices},
            "unit": self._shaper.latency.unit,
            "whole": known.whole,
            "expected": estimated,
            "expected_errors": self._known.errors,
            "latency_weight": self._shaper.weight,
        }
        if not self._leader:
            return facts
        found = self._shaper.latency.predict_model(network.eval(), self._shape)
        network.train()
        ratio = found.seconds / known.whole
        unit = self._shaper.latency.unit
        blocks = sum(choice.kind == "depth" for choice in choices)
        gone = sum(option == 0 for option in structure.values())
        return {
            **facts,
            "predicted": found.seconds,
            "low": found.low,
            "high": found.high,
            "interpolated": found.interpolated,
            "ratio": ratio,
            "summary": f"{ratio:.2f} of the whole student's latency ({_text(found.seconds, unit)} "
            f"of {_text(known.whole, unit)}, predicted): {len(structure) - gone} of "
            f"{len(choices) - blocks} groups of channels narrower, {gone} of {blocks} blocks left "
            "out",
        }


def _nothing(_line: str) -> None:
    """Tells nobody."""


def _text(seconds: float, unit: str) -> str:
    """A latency for people, in the unit of its predictor."""
    if unit == "s":
        return f"{seconds * 1e3:.3g} ms"
    millions = seconds / 1e6 if unit == "MACs" else seconds * 1e3
    return f"{millions:.3g}M {unit}"
