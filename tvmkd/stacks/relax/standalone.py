"""Builds standalone libraries of the relax stack: its kernels, called without TVM."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import tvm

from tvmkd.base import machine
from tvmkd.base.errors import InputError
from tvmkd.base.exits import Exits
from tvmkd.base.frame_description import Frames
from tvmkd.base.runtimes import STANDALONE
from tvmkd.base.version import __version__
from tvmkd.stacks.relax import straight_line
from tvmkd.stacks.relax.build import RelaxBuilder, Started
from tvmkd.stacks.relax.importer import Model
from tvmkd.stacks.relax.objects import PREFIX
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.standalone import library as standalone
from tvmkd.stacks.standalone import source
from tvmkd.stacks.standalone.exits import output_of
from tvmkd.targets import Target
from tvmkd.tuning.space import Task


class StandaloneBuilder(RelaxBuilder):
    """Implements :class:`tvmkd.stacks.builder.Builder` with libraries that need no TVM.

    Args:
        model, tasks, target, cpu: see `RelaxBuilder`.
        place: what ``target`` was made of.
        exits: the model's outputs are the logits of these exits.
        frames: what the library does with frames; None: nothing.

    Raises:
        InputError: parts of the model are left to another engine.
    """

    runtime = STANDALONE

    def __init__(
        self,
        model: Model,
        tasks: Sequence[Task],
        target: tvm.target.Target,
        place: Target,
        cpu: Cpu | None = None,
        exits: Exits | None = None,
        frames: Frames | None = None,
    ) -> None:
        spec = place.to_dict()["toolchain"]
        super().__init__(model, tasks, target, spec, cpu=cpu)
        self._plain = RelaxBuilder(model, tasks, target, spec, cpu=cpu)
        self._fused = straight_line.prepare(self._fused, target)
        self._for, self._info = place, model.info
        if model.outside:
            raise InputError(
                f"{model.info.path}: cannot be a standalone library: {model.outside.notes()[0]}"
            )
        self._inputs, self._outputs = model.inputs, model.outputs
        self._exits = exits
        if exits:
            self._outputs = [output_of(model.outputs)]
        # Before any kernel is compiled, so that a refusal comes at once.
        self._graph = straight_line.read(
            self._fused,
            os.fspath(model.info.path),
            self._target,
            PREFIX,
            exits=exits is not None,
        )
        self._frames = frames
        if frames is not None and frames.detector is not None:
            constants = (*self._graph.constants, frames.detector.anchors)
            self._graph = replace(self._graph, constants=constants)

    def over_rpc(self) -> RelaxBuilder:
        """A builder for TVM's virtual machine: its server knows no other libraries."""
        return self._plain

    def _linked(self, started: Started, path: Path) -> Path:
        compiled = started.objects.result()
        package = standalone.Package(
            self._graph.renamed(compiled.aliases),
            self._about(compiled.scratch),
            self._for.toolchain,
            compiled.objects,
            started.folder,
        )
        package.static(path.with_suffix(".a"))
        return package.shared(path)

    def _about(self, scratch: int) -> source.About:
        kind = self._for.tvm
        return source.About(
            name=self._info.name,
            target=self._for.name,
            built_by=f"tvmkd {__version__}, TVM {self.version}",
            digest=self._info.sha256,
            inputs=self._inputs,
            outputs=self._outputs,
            threads=int(kind.get("num-cores") or 1),
            features=machine.required_features(self._for.mcpu, kind.get("mattr", ())),
            scratch=scratch,
            exits=self._exits,
            cpu=self._for.mcpu,
            frames=self._frames,
        )

    def files(self, library: Path) -> Mapping[str, Path]:
        """The shared and the static library, headers, an example and CMake's file."""
        name = source.identifier(self._info.name)
        found = {f"lib{name}.so": library, f"lib{name}.a": library.with_suffix(".a")}
        for each, text in standalone.texts(self._info.name).items():
            found[each] = library.with_name(each)
            found[each].write_text(text, encoding="utf-8")
        return found
