"""What every stage of a run has: the config, the files, and how a stage is skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd import targets
from tvmkd.base import console
from tvmkd.base.files import key as file_key
from tvmkd.config import Config
from tvmkd.stages import OPTIONAL, STAGES
from tvmkd.stages.run_folder import RunFolder

SAMPLES = 8  # real images that builds are checked on and engines compared on


class Stages:
    """One run. Its subclasses have a method for each of `STAGES`."""

    def __init__(
        self, cfg: Config, target: targets.Target, folder: RunFolder, search_in: Sequence[Path]
    ) -> None:
        self.cfg = cfg
        self.target = target
        self.folder = folder
        self.search_in = search_in
        self.results: dict[str, Any] = {}
        self.stages = [
            name for name in STAGES if name not in OPTIONAL or getattr(cfg, name) is not None
        ]
        self.student = self._path("student.pt" if cfg.prune is None else "pruned.pt")
        self.onnx = self._path("student.onnx")
        self.teacher_onnx = self._path("teacher.onnx")
        self.inputs = self._path("inputs.npz")
        self.artifact = self._path("artifact")
        self.untuned = self._path("artifact-untuned")
        self.comparison = self._path("comparison.json")
        self.report_path = self._path("report.html")

    def _path(self, name: str) -> Path:
        return self.folder.path / name

    def _stage(
        self,
        name: str,
        reads: Mapping[str, Any],
        files: Sequence[Path],
        work: Callable[[], dict[str, Any]],
        together: bool = False,
    ) -> None:
        """Does ``work``, unless it was done with the same ``reads`` and left the same ``files``.

        Never skipped where it is done ``together`` with other processes, which wait for this one.
        """
        head = f"[{self.stages.index(name) + 1}/{len(self.stages)}] {name}"
        key = file_key(name, **reads)
        done = self.folder.done(name, key)
        if done is not None and not together:
            console.say(f"{head}: nothing it reads has changed, skipped")
            self.results[name] = done
            return
        console.say(head)
        start = time.monotonic()
        result = work()
        seconds = time.monotonic() - start
        self.folder.finish(name, key, files, result, seconds)
        self.results[name] = result
        console.say(f"{head}: done in {seconds:.0f} s")

    @property
    def dims(self) -> dict[str, int]:
        """Sizes of the student's free dimensions: its batch, where that is left free."""
        return {"batch": self.cfg.export.batch} if self.cfg.export.dynamic_batch else {}
