"""Prunes step by step; a step stays where the compiled network got faster and accuracy held."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd import data, models
from tvmkd.base import console, machine
from tvmkd.base.errors import InputError, UsageError
from tvmkd.distill.distributed import assemble
from tvmkd.distill.evaluate import evaluate
from tvmkd.distill.fine_tune import fine_tune
from tvmkd.export.onnx import export
from tvmkd.models import checkpoint
from tvmkd.models.macs import macs, parameters
from tvmkd.prune import channels, curve
from tvmkd.stacks import compile as steps
from tvmkd.timing import interleaved, stats

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.config import Config
    from tvmkd.data.splits import Splits
    from tvmkd.targets import Target

MOST = 0.9  # share of the channels that one step may take


@dataclass(frozen=True)
class Step:
    """One try. ``ratio`` and its interval are the latency against the network before it.

    Accuracies are 0 to 1, times ms, MACs and parameters those of one image.
    """

    share: float
    kept: bool
    why: str
    channels: int
    macs: int
    parameters: int
    val_accuracy: float
    test_accuracy: float
    ms: float
    ratio: float
    ratio_ci: tuple[float, float]


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
    """Prunes ``out/student.pt`` as ``[prune]`` says.

    Each step takes a share of the channels, fine-tunes with the distillation loss of the run,
    compiles, and times the new network and the one before in turns. It is kept where the 95%
    interval of their ratio is below 1; where it is not, the next try takes a larger share of the
    same network. A step that loses more than ``max_drop`` on the validation split ends it.

    Args:
        cfg: the whole config.
        target: what to compile for; it has to run here.
        out: the run's folder: gets ``pruned.pt``, ``pruning.html`` and ``prune/``.
        search_in: folders to look for a ``module:callable`` teacher in.

    Returns:
        JSON-safe: ``steps`` (see `Step`; the first is the student itself), ``kept`` (how many),
        ``macs`` and ``ms`` of the result.

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
            "give a target that does"
        )
    splits = data.load(cfg.data)
    saved = checkpoint.load(out / "student.pt")
    base = {"base": saved.model["spec"], "args": saved.model["kwargs"], "shape": splits.shape}
    if not models.is_builtin(base["base"]):
        raise InputError(
            f'[prune] takes students of tvmkd or torchvision, not "{base["base"]}": a pruned '
            "checkpoint names what to rebuild, and a file must not choose what code runs"
        )
    network = models.build(saved.model["spec"], **saved.model["kwargs"])
    network.load_state_dict(saved.state)
    folder = out / "prune"
    folder.mkdir(exist_ok=True)
    np.save(folder / "input.npy", splits.sample(1))
    artifact = _compile(out / "student.pt", splits, folder / "0", target, cfg.tune.stack)
    now = _State(network.eval(), [], out / "student.pt", artifact)
    first = _measure(now, now, splits, cfg)
    found = [replace(first, kept=True, why="the student", ratio=1.0, ratio_ci=(1.0, 1.0))]
    share = section.ratio
    for number in range(1, section.steps + 1):
        share = min(share, MOST)
        new = _try(number, share, now, base, cfg, splits, target, folder, search_in)
        if new is None:
            console.warn(f"step {number}: no channels left to take at this multiple; it ends here")
            break
        step = replace(_measure(new, now, splits, cfg), share=share)
        lost = found[0].val_accuracy - step.val_accuracy
        if lost > section.max_drop:
            why = f"loses {100 * lost:.1f} points on the validation split"
        elif step.ratio_ci[1] < 1:
            why, step = "faster", replace(step, kept=True)
        else:
            why = "not faster beyond the noise"
        found.append(replace(step, why=why))
        console.say(f"  step {number}: {_line(found[-1])}")
        if lost > section.max_drop:
            break
        if step.kept:
            now, share = new, section.ratio
        elif share >= MOST:
            break
        else:
            share += section.ratio
    _publish(now, saved, out)
    curve.draw(found, out / "pruning.html", target.budget.get("model_ms"))
    kept = [step for step in found if step.kept]
    return {
        "steps": [{**asdict(step), "ratio_ci": list(step.ratio_ci)} for step in found],
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
    splits: Splits,
    target: Target,
    folder: Path,
    search_in: Sequence[Path],
) -> _State | None:
    section = cfg.prune
    assert section is not None
    network = copy.deepcopy(now.network).cpu()
    went = channels.shrink(
        network, splits.shape, share, target.channel_multiple, len(splits.classes)
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
    )
    artifact = _compile(path, splits, folder / str(number), target, cfg.tune.stack)
    return _State(network.cpu().eval(), history, path, artifact)


def _compile(source: Path, splits: Splits, place: Path, target: Target, stack: str) -> Path:
    place.mkdir(exist_ok=True)
    onnx = export(source, place / "network.onnx", splits.shape)
    steps.build(onnx, target, [], place / "artifact", stack=stack)
    return place / "artifact"


def _measure(new: _State, before: _State, splits: Splits, cfg: Config) -> Step:
    threads = cfg.compare.threads or machine.physical_cores()
    inputs = new.artifact.parent.parent / "input.npy"
    with console.working("timing it and the one before in turns"):
        was, now = interleaved.in_turns([before.artifact, new.artifact], inputs, threads)
    ratio, interval = stats.ratio_ci(now, was)
    size = cfg.data.batch_size
    with assemble() as team:
        scores = [evaluate(new.network, part, size, team) for part in (splits.val, splits.test)]
    return Step(
        share=0.0,
        kept=False,
        why="",
        channels=sum(channels.widths(new.network).values()),
        macs=macs(new.network, splits.shape),
        parameters=parameters(new.network),
        val_accuracy=scores[0],
        test_accuracy=scores[1],
        ms=float(np.median(np.concatenate([np.array(one) for one in now]))),
        ratio=ratio,
        ratio_ci=interval,
    )


def _publish(now: _State, student: checkpoint.Checkpoint, out: Path) -> None:
    """``pruned.pt``: the last network that was kept, with what the student says of its data."""
    last = checkpoint.load(now.checkpoint)
    meta = {**student.meta, "pruned": str(len(now.history) > 0).lower()}
    checkpoint.save(out / "pruned.pt", replace(last, optimizer=None, meta=meta))


def _line(step: Step) -> str:
    low, high = step.ratio_ci
    return (
        f"{step.share:.0%} of the channels: {step.macs / 1e6:.2f} MMAC, {step.ms:.3f} ms, "
        f"{step.ratio:.2f} ({low:.2f} to {high:.2f}) of the time before, test "
        f"{step.test_accuracy:.1%}: {'kept' if step.kept else 'undone'}, {step.why}"
    )
