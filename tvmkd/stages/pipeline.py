"""Runs the stages of a ``tvmkd.toml`` in order, and skips those whose inputs are unchanged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd import targets
from tvmkd.base import console, files
from tvmkd.config import Config
from tvmkd.stacks import worker_pool
from tvmkd.stages import CLASSES, OPTIONAL, STAGES, Stage
from tvmkd.stages.context import SAMPLES, RunContext
from tvmkd.stages.run_folder import RunFolder

__all__ = ["OPTIONAL", "SAMPLES", "STAGES", "run"]


def run(cfg: Config, *, search_in: Sequence[Path] = (), until: str = STAGES[-1]) -> dict[str, Any]:
    """Runs the stages up to and with ``until`` and returns the result of each, by name.

    The results are also written to ``summary.json`` in the run's folder. A gate that is not passed
    is a result (``["gate"]["passed"]``), not an error.

    Args:
        cfg: the whole config.
        search_in: folders to look for a ``module:callable`` in, such as the config file's.
        until: the last stage to run.

    Raises:
        InputError: something that the config names cannot be used, or the folder is not a run's.
        UsageError: a stage cannot run on this target or machine, or a requirement is no expression.
        MissingError: a tracker, a board or a stack is not there.
    """
    context = RunContext(cfg, targets.load(cfg.target.name), cfg.project.out, search_in)
    stages = [stage(context) for stage in CLASSES if stage.is_part_of(cfg)]
    for stage in stages:
        for warning in stage.check():
            console.warn(warning)
    last = STAGES.index(until)
    with RunFolder(cfg.project.out) as folder, worker_pool.shared():
        for number, stage in enumerate(stages, 1):
            if STAGES.index(stage.name) <= last:
                head = f"[{number}/{len(stages)}] {stage.name}"
                context.results[stage.name] = _result(stage, folder, head)
        files.write_json(folder.path / "summary.json", context.results)
        return context.results


def _result(stage: Stage, folder: RunFolder, head: str) -> dict[str, Any]:
    """The stage's result, from the folder's state if its inputs and outputs are unchanged."""
    key = stage.key()
    done = None if stage.forced else folder.done(stage.name, key)
    if done is not None:
        console.say(f"{head}: nothing it reads has changed, skipped")
        return done
    console.say(head)
    start = time.monotonic()
    result = stage.run()
    seconds = time.monotonic() - start
    folder.finish(stage.name, key, stage.outputs(), result, seconds)
    console.say(f"{head}: done in {seconds:.0f} s")
    return result
