"""The stages of a ``tvmkd.toml``, in order: each one skipped when nothing it reads has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd import targets
from tvmkd.base import console, files
from tvmkd.config import Config
from tvmkd.stages import OPTIONAL, STAGES
from tvmkd.stages.artifact import ArtifactStages
from tvmkd.stages.base import SAMPLES
from tvmkd.stages.network import NetworkStages
from tvmkd.stages.run_folder import RunFolder

__all__ = ["OPTIONAL", "SAMPLES", "STAGES", "run"]


class _Pipeline(NetworkStages, ArtifactStages):
    """All stages of one run."""


def run(cfg: Config, *, search_in: Sequence[Path] = (), until: str = STAGES[-1]) -> dict[str, Any]:
    """Runs the stages up to and with ``until`` and returns what each of them gave, by name.

    Also writes it to ``summary.json`` in the run's folder. A gate that says no is a result
    (``["gate"]["passed"]``), not an error.

    Args:
        cfg: the whole config.
        search_in: folders to look for a ``module:callable`` in, such as the config file's.
        until: the last stage to run.

    Raises:
        InputError: something that the config names cannot be used, or the folder is someone else's.
        MissingError: a tracker or a board is not there.
    """
    from tvmkd.runtime import interpreters

    # Mistakes that should not wait for a training to come to light.
    target = targets.load(cfg.target.name)
    interpreters.find(cfg.tune.stack)
    if cfg.quantize is not None:
        slow = target.check_pays("int8", cfg.quantize.allow_slow)
        if slow is not None:
            console.warn(slow)
    if cfg.gate.require:
        from tvmkd.bench import gate

        for text in cfg.gate.require:
            gate.parse(text)
    with RunFolder(cfg.project.out) as folder:
        pipeline = _Pipeline(cfg, target, folder, search_in)
        for name in STAGES[: STAGES.index(until) + 1]:
            if name in pipeline.stages:
                getattr(pipeline, name)()
        files.write_json(folder.path / "summary.json", pipeline.results)
        return pipeline.results
