"""Prunes a trained student step by step, with fine-tuning, compilation and timing at each step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd import models
from tvmkd.base import console, machine
from tvmkd.base.errors import InputError, UsageError
from tvmkd.distill import tasks
from tvmkd.distill.fine_tune import fine_tune
from tvmkd.distill.task import SPLITS, running
from tvmkd.export.onnx import export
from tvmkd.models import checkpoint
from tvmkd.models.macs import macs, parameters
from tvmkd.models.reparameterize import fused
from tvmkd.prune import channels, curve
from tvmkd.prune.rule import Step, prune_stepwise
from tvmkd.stacks import progress
from tvmkd.stacks.compile import build
from tvmkd.timing import interleaved, stats

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.config import Config
    from tvmkd.distill.task import Metric, Task
    from tvmkd.targets import Target


@dataclass
class _State:
    """A network, its checkpoint and its artifact."""

    network: nn.Module
    history: list[list[Any]]
    checkpoint: Path
    artifact: Path


def prune(
    cfg: Config,
    target: Target,
    out: Path,
    *,
    search_in: Sequence[Path] = (),
) -> dict[str, Any]:
    """Prunes ``out/student.pt`` with the settings of ``[prune]``.

    Each step removes a share of the channels, fine-tunes with the distillation loss of the run,
    compiles, and times the new network and the previous one in alternation. For which steps are
    kept see `tvmkd.prune.rule.prune_stepwise`.

    Args:
        cfg: the whole config.
        target: the target to compile for; it has to run on this machine.
        out: the run folder; ``pruned.pt``, ``pruning.html`` and ``prune/`` are written into it.
        search_in: folders to search for a ``module:callable`` teacher.

    Returns:
        JSON-safe: ``steps`` (see `Step`; the first is the student itself), ``metric`` (of their
        scores), ``kept`` (how many), ``macs`` and ``ms`` of the result.

    Raises:
        UsageError: the target does not run here.
        InputError: the student cannot be pruned, exported or compiled.
    """
    section = cfg.prune
    assert section is not None
    reason = target.runs_here()
    if reason is not None:
        raise UsageError(
            f"[prune] times each step, and {target.name} does not run here: {reason}; "
            "choose a target that runs on this machine"
        )
    task = tasks.make(cfg, search_in)
    saved = checkpoint.load(out / "student.pt")
    base = {"base": saved.model["spec"], "args": saved.model["kwargs"], "shape": task.input_shape}
    if not models.is_builtin(base["base"]):
        raise InputError(
            f'[prune] supports students of tvmkd or torchvision, not "{base["base"]}": a pruned '
            "checkpoint names the model to rebuild, and a file must not choose which code runs"
        )
    network = models.build(saved.model["spec"], **saved.model["kwargs"])
    network.load_state_dict(saved.state)
    # Channels of branches can only go together, and what the branches are fused by would not know.
    whole, network = network, fused(network, task.input_shape, saved.model["spec"])
    if network is not whole:
        base["fused"] = True
    folder = out / "prune"
    folder.mkdir(exist_ok=True)
    np.save(folder / "input.npy", task.samples(1))
    artifact = _compile(out / "student.pt", folder / "0", target, cfg.tune.stack)
    now = _State(network.eval(), [], out / "student.pt", artifact)
    first = _measure(now, now, task, cfg)

    def attempt(number: int, share: float, before: _State) -> tuple[_State, Step] | None:
        new = _try(number, share, before, base, cfg, task, target, folder, search_in)
        if new is None:
            console.warn(f"step {number}: no channels left to remove at this multiple; stopping")
            return None
        return new, _measure(new, before, task, cfg)

    now, found = prune_stepwise(
        now,
        replace(first, why="the student", ratio=1.0, ratio_ci=(1.0, 1.0)),
        attempt,
        steps=section.steps,
        ratio=section.ratio,
        max_drop=section.max_drop,
        lost=task.metric.gain,
        on_step=lambda number, step: console.say(f"  step {number}: {_line(step, task.metric)}"),
    )
    _publish(now, saved, out, task)
    curve.draw(found, out / "pruning.html", task.metric, target.budget.get("model_ms"))
    kept = [step for step in found if step.kept]
    return {
        "steps": [{**asdict(step), "ratio_ci": list(step.ratio_ci)} for step in found],
        "metric": task.metric.name,
        "kept": len(kept) - 1,
        "macs": kept[-1].macs,
        "ms": kept[-1].ms,
    }


def _try(
    number: int,
    share: float,
    now: _State,
    base: dict[str, Any],
    cfg: Config,
    task: Task,
    target: Target,
    folder: Path,
    search_in: Sequence[Path],
) -> _State | None:
    section = cfg.prune
    assert section is not None
    network = copy.deepcopy(now.network).cpu()
    went = channels.shrink(
        network, task.input_shape, share, target.channel_multiple, task.fixed_outputs(network)
    )
    if not went:
        return None
    history = [*now.history, *went]
    path = folder / f"{number}.pt"
    fine_tune(
        cfg,
        folder.parent,
        network,
        {"spec": "pruned", "kwargs": {**base, "history": history}},
        path,
        name=f"pruned student, step {number}",
        epochs=section.epochs,
        lr=section.lr,
        search_in=search_in,
        task=task,
    )
    artifact = _compile(path, folder / str(number), target, cfg.tune.stack)
    return _State(network.cpu().eval(), history, path, artifact)


def _compile(source: Path, place: Path, target: Target, stack: str) -> Path:
    place.mkdir(exist_ok=True)
    onnx = export(source, place / "network.onnx")
    with progress.following(f"building for {target.name}") as follow:
        build(onnx, target, [], place / "artifact", stack=stack, on_event=follow)
    return place / "artifact"


def _measure(new: _State, before: _State, task: Task, cfg: Config) -> Step:
    threads = cfg.compare.threads or machine.physical_cores()
    inputs = new.artifact.parent.parent / "input.npy"
    with console.working("timing the step and the previous network in alternation"):
        was, now = interleaved.in_turns([before.artifact, new.artifact], inputs, threads)
    ratio, interval = stats.ratio_ci(now, was)
    scores = [task.score(new.network, part) for part in SPLITS[1:]]
    return Step(
        share=0.0,
        kept=False,
        why="",
        channels=sum(channels.widths(new.network).values()),
        macs=macs(new.network, task.input_shape),
        parameters=parameters(new.network),
        val_score=scores[0],
        test_score=scores[1],
        ms=float(np.median(np.concatenate([np.array(one) for one in now]))),
        ratio=ratio,
        ratio_ci=interval,
    )


def _publish(now: _State, student: checkpoint.Checkpoint, out: Path, task: Task) -> None:
    """Writes ``pruned.pt``: the last kept network, with the student's metadata about its data."""
    last = checkpoint.load(now.checkpoint)
    meta = {**student.meta, "pruned": str(len(now.history) > 0).lower()}
    if task.calibrates:
        meta |= task.calibrate(now.network, running(now.network))
    checkpoint.save(out / "pruned.pt", replace(last, optimizer=None, meta=meta))


def _line(step: Step, metric: Metric) -> str:
    low, high = step.ratio_ci
    return (
        f"{step.share:.0%} of the channels: {step.macs / 1e6:.2f} MMAC, {step.ms:.3f} ms, "
        f"{step.ratio:.2f} ({low:.2f} to {high:.2f}) of the time before, test "
        f"{metric.text(step.test_score)}: {'kept' if step.kept else 'undone'}, {step.why}"
    )
