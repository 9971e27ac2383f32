"""A search space: parameters, and what their values make of the file's student."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError, UsageError
from tvmkd.config.overlay import SHORT
from tvmkd.config.values import Values
from tvmkd.search import channels
from tvmkd.search import structure as structures
from tvmkd.search.parameter_space import ParameterSpace
from tvmkd.search.parameters import Parameter, text_of
from tvmkd.search.signatures import Signature
from tvmkd.search.structure import ARGS

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.config import Config
    from tvmkd.distill.task import Task
    from tvmkd.search.latency.prediction import Latency, Prediction
    from tvmkd.targets import Target

MODEL = "student.model"


class Space(ParameterSpace):
    """The networks that a search chooses from.

    The schema of ``tvmkd.toml`` may refuse some structures, such as int8 with early exits.

    Args:
        cfg: the file; its ``[search]`` is not read.
        parameters: each after those that it depends on.
        signatures: of the models that the space may choose.
        multiple: the target's channel multiple.
        search_in: folders to look in for a ``module:callable``.
    """

    def __init__(
        self,
        cfg: Config,
        parameters: Sequence[Parameter],
        signatures: Mapping[str, Signature],
        multiple: int = 8,
        search_in: Sequence[Path] = (),
    ) -> None:
        super().__init__(parameters)
        self.cfg = cfg
        self.signatures, self.multiple, self.search_in = signatures, multiple, tuple(search_in)

    @classmethod
    def from_config(cls, cfg: Config, target: Target, search_in: Sequence[Path] = ()) -> Space:
        """The space of ``[search.space]``.

        Args:
            cfg: the whole file.
            target: what the networks are for.
            search_in: folders to look in for a ``module:callable``.

        Raises:
            InputError: there is no space, a model is not there, or a parameter applies to none.
        """
        from tvmkd.search import definition

        if cfg.export.precision == "auto":
            raise InputError(
                '[export] precision = "auto" measures which one is faster, and a search compares '
                'networks in one: give "fp32", "fp16" or "int8"'
            )
        if cfg.export.batch != 1:
            raise InputError(
                f"[export] batch = {cfg.export.batch}: a search predicts and measures networks for "
                "one image; leave it out"
            )
        parameters, signatures = definition.read(cfg, target.channel_multiple, search_in)
        return cls(cfg, parameters, signatures, target.channel_multiple, search_in)

    def efficient(self, latency: Latency, task: Task) -> Space:
        """The space with efficient channel counts for ``channels = "efficient"``.

        One latency is predicted for each network that differs, with the first values of all other
        parameters; a parameter of several models gets the values of each. Until then such a
        parameter has every value of its range.

        Args:
            latency: of the target.
            task: what is learnt.

        Raises:
            InputError: the latency of no network can be predicted.
        """
        parameters = []
        for each in self.parameters:
            if each.values.channels is not None:
                models = self.models_of(each)
                found = {
                    value
                    for model in models
                    for value in self._efficient(each, model, latency, task)
                }
                each = replace(each, values=Values(choices=sorted(found)))
            parameters.append(each)
        return self.with_parameters(parameters)

    def with_parameters(self, parameters: Sequence[Parameter]) -> Space:
        """The space with others; files of earlier predictions stay as long as it does."""
        made = Space(self.cfg, parameters, self.signatures, self.multiple, self.search_in)
        made.folder = self.folder
        made._files = self._files
        return made

    def _efficient(
        self, parameter: Parameter, model: str, latency: Latency, task: Task
    ) -> list[float]:
        base = self.first({self.model_name: model} if self.model_name else {})

        def key(value: float) -> str:
            return self.key({**base, parameter.name: value})

        def seconds(value: float) -> float:
            structure = {**base, parameter.name: value}
            return self.predict(self.cfg, structure, task, latency).seconds

        low, high = float(parameter.values.low or 0), float(parameter.values.high or 0)
        return channels.efficient_multipliers(
            f"{parameter.name} of {model}", channels.different(low, high, key), seconds
        )

    def models_of(self, parameter: Parameter) -> list[str]:
        """The models that have a parameter."""
        name = self.model_name
        allowed = parameter.needs.get(name) if name else None
        return [spec for spec in self.signatures if allowed is None or text_of(spec) in allowed]

    @property
    def model_name(self) -> str | None:
        """The name of the parameter that chooses the model; None: there is one model."""
        return next((each.name for each in self.parameters if each.path == MODEL), None)

    def apply(self, cfg: Config, structure: Mapping[str, Any]) -> Config:
        """The config of one network: a validated copy of the file, without ``[search]``.

        Raises:
            InputError: the schema refuses the values together.
        """
        own = self.normalise(structure)
        name, values = structures.text(own), self._by_path(own)
        return structures.configure(cfg, values, self.signatures, name, self.multiple)

    def problem(self, structure: Mapping[str, Any]) -> str | None:
        """Why the schema refuses a structure; None: it accepts it."""
        try:
            self.apply(self.cfg, structure)
        except InputError as error:
            return str(error)
        return None

    def shape(self, cfg: Config, structure: Mapping[str, Any], task: Task) -> tuple[int, ...]:
        """The shape of the network's input, batch first."""
        return structures.input_shape(self.apply(cfg, structure), task)

    def build(
        self, cfg: Config, structure: Mapping[str, Any], task: Task, seed: int = 0
    ) -> nn.Module:
        """The network, not trained, as `structure.build`; in evaluation mode.

        Args:
            cfg: the file.
            structure: which.
            task: what is learnt; it may be that of another resolution.
            seed: of the weights.

        Raises:
            InputError: it cannot be built; names the structure.
        """
        try:
            applied = self.apply(cfg, structure)
            return structures.build(applied, task, self.multiple, self.search_in, seed)
        except (InputError, UsageError) as error:
            raise structures.named(structure, error) from error

    def onnx(
        self, cfg: Config, structure: Mapping[str, Any], task: Task, folder: Path, seed: int = 0
    ) -> Path:
        """An ONNX file with the network's kernels, in its precision; its weights are random.

        Of a network with exits, all of them run.

        Args:
            cfg: the file.
            structure: which.
            task: what is learnt.
            folder: gets ``KEY.onnx``; a file that is there is used.
            seed: of what the pruned channels are chosen by.

        Raises:
            InputError: it cannot be built, exported, or made to this precision.
        """
        from tvmkd.search import kernel_file
        from tvmkd.search.exits import everything

        path = folder / f"{self.key(structure)}.onnx"
        if path.exists():
            return path
        network = everything(self.build(cfg, structure, task, seed))
        try:
            applied = self.apply(cfg, structure)
            images = structures.images(applied, task)
            return kernel_file.write(network, images, applied, path)
        except (InputError, UsageError) as error:
            raise structures.named(structure, error) from error

    def predict(
        self, cfg: Config, structure: Mapping[str, Any], task: Task, latency: Latency
    ) -> Prediction:
        """The predicted time of one run; with exits, of an image that leaves at the last one.

        Args:
            cfg: the file.
            structure: which.
            task: what is learnt.
            latency: of the target.

        Raises:
            InputError: the network cannot be built, exported or compiled; names the structure.
        """
        from tvmkd.models.early_exit import EarlyExitNet
        from tvmkd.search import exits

        if self.apply(cfg, structure).export.precision != "fp32":
            return latency.predict_model(self.onnx(cfg, structure, task, self.folder))
        network = self.build(cfg, structure, task)
        shape = self.shape(cfg, structure, task)
        try:
            if isinstance(network, EarlyExitNet):
                return exits.times(latency, network, shape)[-1]
            return latency.predict_model(network, shape)
        except (InputError, UsageError) as error:
            raise structures.named(structure, error) from error

    def key(self, structure: Mapping[str, Any]) -> str:
        """A hash that structures share which build and train the same network.

        For example those of widths that round to the same channels. It stays the same over
        processes.
        """
        own = self.normalise(structure)
        values = self._by_path(own)
        spec = str(values.pop(MODEL, self.cfg.student.model))
        others = {path: value for path, value in values.items() if not path.startswith(ARGS)}
        try:
            applied = self.apply(self.cfg, own)
        except InputError:
            args, size = dict(values), 0
        else:
            args, size = applied.student.args, applied.data.image_size
            if applied.early_exit is not None:
                others[SHORT["exits"]] = applied.early_exit.exits
        texts = {path: text_of(value) for path, value in others.items()}
        network = structures.fingerprint(spec, args, self.multiple, size)
        found = json.dumps([spec, network, texts], sort_keys=True)
        return hashlib.sha256(found.encode()).hexdigest()[:16]

    @cached_property
    def folder(self) -> Path:
        """For files that predictors may read later; goes with the space."""
        self._files = tempfile.TemporaryDirectory(prefix="tvmkd-space-")
        return Path(self._files.name)

    def _by_path(self, structure: Mapping[str, Any]) -> dict[str, Any]:
        """The values by path; those of stages as lists."""
        found: dict[str, Any] = {}
        for each in self.parameters:
            if each.name not in structure:
                continue
            if each.index is None:
                found[each.path] = structure[each.name]
            else:
                found.setdefault(each.path, []).append(structure[each.name])
            if each.multiple is not None:
                found[f"{ARGS}multiple"] = each.multiple
        return found
