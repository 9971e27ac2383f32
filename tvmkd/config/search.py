"""The section of a ``tvmkd.toml`` about the search for a network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictFloat, StrictInt, StrictStr, field_validator

from tvmkd.base.text import suggest
from tvmkd.config.budget import Budget, parse_budget
from tvmkd.config.fields import Count, NotNegative, Positive, Section, Seed
from tvmkd.config.overlay import SHORT, Overlay
from tvmkd.config.values import Values


class Supernet(Section):
    """``[search.supernet]``: how ``method = "supernet"`` trains, evaluates and chooses."""

    epochs: Count = 200
    """Epochs of the supernet. It takes several times as many as one network of the space."""
    lr: Positive | None = None
    """Learning rate of the supernet. Without it: ``distill.lr``."""
    samples: Count = 2
    """Random networks that learn in each step, beside the largest and the smallest."""
    calibration: Annotated[int, Field(ge=2)] = 512
    """Training images from which each network's batch-norm statistics are computed."""
    validation: Annotated[int, Field(ge=2)] | None = None
    """Images of the validation split on which networks are compared. Without it: all."""
    population: Annotated[int, Field(ge=2)] = 50
    """Networks of a generation of the evolution."""
    generations: Annotated[int, Field(ge=0)] = 10
    """Generations after the first, which is random."""
    winners: Count = 3
    """Best networks that are cut out, trained on with the teacher, and measured."""
    tuning_epochs: Count = 20
    """Epochs that a winner is trained on."""
    tuning_lr: Positive = 5e-4
    """Learning rate of that training."""


class Joint(Section):
    """``[search.joint]``: how ``method = "joint"`` divides trainings and tuning trials."""

    rounds: Count = 6
    """Rounds at most: in each, networks are trained, then the kernels of the front are tuned."""
    board_seconds: NotNegative = 600.0
    """Seconds for which boards may be busy with tuning. What a table lacks at first is measured
    besides, as for every method."""
    batch: Count = 64
    """Most tuning trials before the front is taken again."""
    last: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of ``board_seconds`` that is kept for the last front."""
    patience: Count = 2
    """The search ends once the front has stood still for so many rounds: the same networks, with
    latencies within the table's error."""
    choice: Count = 4
    """Networks that are proposed and lowered for each one that is trained."""


class Search(Section):
    """``[search]``: finds a student for the target with ``tvmkd search``. Runs ignore it."""

    method: Literal["study", "supernet", "joint"] = "study"
    """``study``: trains each network. ``supernet``: trains one network that contains all of them.
    ``joint``: a study that tunes the kernels which matter to the best networks as it goes."""
    objective: Literal["accuracy", "weighted", "front"] = "accuracy"
    """``accuracy``: the most accurate network within the budget. ``weighted``: the least
    ``alpha * (1 - accuracy) + beta * latency / budget``. ``front``: the networks of which none is
    better in accuracy and latency."""
    budget: StrictStr | StrictInt | StrictFloat | None = None
    """The greatest latency: a text such as ``5ms``, ``1.5 s`` or ``800us``, or a number of
    milliseconds; ``12M`` is millions of instructions, on emulated boards."""
    trials: Count = 40
    """Networks to try."""
    workers: Count = 1
    """Processes that try networks at the same time."""
    stop: Literal["halving", "hyperband", "never"] = "halving"
    """Trainings that do worse than others end early, at a ninth and a third of ``distill.epochs``:
    by successive halving, which lets the best third go on once four networks were trained to the
    end, or by Hyperband, for some hundred networks. With ``objective = "front"`` either ends those
    that faster networks clearly beat."""
    seed: Seed = 0
    """Seed of the search."""
    alpha: NotNegative = 1.0
    """``weighted``: factor of the error."""
    beta: NotNegative = 0.2
    """``weighted``: factor of the latency, as a share of the budget."""
    baselines: list[str] | None = None
    """Students to compare with, which are trained with the same settings and measured: names as for
    ``student.model``. Without it: the ``[student]`` of this file as it stands; ``[]``: none. Not
    with ``supernet``."""
    measure: bool = True
    """Measure networks near the front on the target. ``false``: predictions alone decide."""
    table: Path | None = None
    """Folder of a latency table. Without it: ``search/table`` in the run's folder, filled as
    needed."""
    storage: str | None = None
    """URL of an Optuna storage, such as ``sqlite:///study.db``, that workers on several machines
    share. Without it: a journal file in the search's folder."""
    supernet: Supernet = Field(default_factory=Supernet)
    """Settings of ``method = "supernet"``."""
    joint: Joint = Field(default_factory=Joint)
    """Settings of ``method = "joint"``."""
    space: dict[str, Values]
    """The parameters of a network and their values, by name."""

    @field_validator("budget")
    @classmethod
    def _readable(cls, given: str | float | None) -> str | float | None:
        if given is not None:
            parse_budget(given)
        return given

    @field_validator("space")
    @classmethod
    def _not_empty(cls, space: dict[str, Values]) -> dict[str, Values]:
        if not space:
            raise ValueError(
                "is empty; name at least one parameter, such as width = { low = 0.5, high = 1.5 }"
            )
        return space

    @property
    def limit(self) -> Budget | None:
        """The budget with its unit."""
        return None if self.budget is None else parse_budget(self.budget)


def check_space(
    space: Mapping[str, Values],
    schema: type[BaseModel],
    base: Mapping[str, Any],
    validate: Callable[[dict[str, Any]], str | None],
) -> None:
    """Checks the parameters of a space against the rest of the file.

    Each value is set alone; what rules another one out shows when a network is made.

    Args:
        space: of ``[search.space]``.
        schema: of the whole file.
        base: the data of the file, without ``[search]``.
        validate: checks data of a file; returns what is wrong, in one line, or None.

    Raises:
        ValueError: a name is no key, two are the same key, or the schema refuses a value.
    """
    overlay, paths = Overlay(schema), dict[str, str]()
    models = _models(space, base)
    for name, values in space.items():
        where = f"search.space.{name}"
        try:
            path = overlay.path_of(name)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if path in paths:
            raise ValueError(f"{where}: is the same key as search.space.{paths[path]}")
        paths[path] = name
        for model in values.only:
            if model not in models:
                hint = suggest(model, models) or f"; there are {', '.join(models)}"
                raise ValueError(f'{where}: only "{model}" is no model of this space{hint}')
        of_model = path.startswith(_ARGS)
        if not of_model and (values.per_stage or values.channels):
            key = "per_stage" if values.per_stage else "channels"
            raise ValueError(f"{where}: {key} is for arguments of the model, such as width")
        if path == SHORT["precision"] and "auto" in values.samples():
            raise ValueError(f'{where}: "auto" measures; name "fp32", "fp16" or "int8"')
        for value in [] if of_model else values.samples():
            data = copy.deepcopy(dict(base))
            given = _named(value) if path == SHORT["exits"] else value
            overlay.put(data, {**_beside(path, space), path: given})
            problem = validate(data)
            if problem is not None:
                raise ValueError(f"{where}: the value {value!r} is refused: {problem}")


_ARGS = "student.args."


def _beside(path: str, space: Mapping[str, Values]) -> dict[str, Any]:
    """The values with which a key of an optional section may be given."""
    if path == "export.keep_fp32":
        return {SHORT["precision"]: "fp16"}
    if path.startswith("quantize."):
        return {SHORT["precision"]: "int8"}
    exits = space.get("exits") or space.get(SHORT["exits"])
    given = [value for value in exits.samples() if value is not False] if exits else []
    return {SHORT["exits"]: _named(given[0])} if path.startswith("early_exit.") and given else {}


def _named(exits: Any) -> Any:
    """Exits with a path in place of each share of the blocks, which only a network can resolve."""
    if not isinstance(exits, list):
        return exits
    shares = [each for each in exits if isinstance(each, float) and 0 < each < 1]
    return [f"after {each}" if each in shares else each for each in exits]


def _models(space: Mapping[str, Values], base: Mapping[str, Any]) -> list[str]:
    """The models that a space may choose."""
    found = space.get("model") or space.get(SHORT["model"])
    if found is not None:
        return [str(value) for value in found.samples()]
    return [str(base.get("student", {}).get("model", "depthwise"))]
