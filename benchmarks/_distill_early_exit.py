"""Early exits of the recipe over seeds: time saved, and two rules for a mean budget."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd import config, data
from tvmkd.base import resources
from tvmkd.config import tomllib
from tvmkd.early_exit import policy, produce
from tvmkd.models import checkpoint
from tvmkd.stages import pipeline

FASTER, LOST = 1.5, 0.005
BUDGETS = (0.1, 0.25, 0.5)
"""Mean budgets: from the time of the first exit (0) to that of the last (1)."""


def measure(out: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Trains, cuts, compiles and times the recipe with each seed."""
    text = (resources.folder("recipes") / "early-exit.toml").read_text(encoding="utf-8")
    found, rules = [], []
    for seed in seeds:
        given = tomllib.loads(text)
        given["project"]["out"] = str(out / str(seed))
        given["distill"]["seeds"] = [seed]
        cfg = config.parse(given)
        found.append(pipeline.run(cfg, until="early_exit")["early_exit"])
        upto_ms = [entry["ms"] for entry in found[-1]["exits"]]
        student = out / str(seed) / "student.pt"
        rules += [{"seed": seed, **row} for row in at_budgets(student, cfg, upto_ms)]
    faster = [run["mean_whole_ms"] / run["mean_ms"] for run in found]
    lost = [run["full_accuracy"] - run["accuracy"] for run in found]
    note = f"loses {100 * statistics.fmean(lost):.2f} points in the mean over seeds"
    return [
        {
            "name": "early exit: mean latency without exits over that with them",
            "ratio": statistics.fmean(faster),
            "ratios": faster,
            "bar": FASTER,
            "better": "higher",
            "holds": statistics.fmean(faster) >= FASTER,
            "note": note,
            "runs": found,
        },
        {
            "name": "early exit: accuracy lost, 0 to 1",
            "ratio": statistics.fmean(lost),
            "ratios": lost,
            "bar": LOST,
            "better": "lower",
            "holds": statistics.fmean(lost) <= LOST,
        },
        *_compared(rules),
    ]


def at_budgets(student: Path, cfg: config.Config, upto_ms: Sequence[float]) -> list[dict[str, Any]]:
    """Both rules at equal mean budgets: learnt on the validation split, judged on the test split.

    Returns:
        for each budget its ``ms``, the ``chosen`` kind, and of each kind the accuracy on the test
        split and the mean time there.
    """
    splits = data.load(cfg.data)
    network = produce.restored(checkpoint.load(student))
    val, test = (produce.exit_logits(network, part) for part in (splits.val, splits.test))
    labels = splits.test.labels.numpy()
    rows = []
    for share in BUDGETS:
        budget = upto_ms[0] + share * (upto_ms[-1] - upto_ms[0])
        choice = policy.choose(val, splits.val.labels.numpy(), upto_ms, budget)
        row: dict[str, Any] = {"budget": share, "ms": budget, "chosen": choice.kind}
        for kind, made in choice.policies.items():
            result = made.evaluate(test, labels, upto_ms)
            row[kind] = {"accuracy": result.accuracy, "ms": result.cost, "lost": result.lost}
        rows.append(row)
    return rows


def _compared(rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    baseline = [row[policy.CONFIDENCES]["accuracy"] for row in rules]
    made = []
    for name, kinds in (
        ("a learnt score", [policy.SCORES] * len(rules)),
        ("the better one on the validation split", [row["chosen"] for row in rules]),
    ):
        more = [
            100 * (row[kind]["accuracy"] - base)
            for row, kind, base in zip(rules, kinds, baseline, strict=True)
        ]
        made.append(
            {
                "name": f"early exit: points of accuracy {name} gains over confidence",
                "ratio": statistics.fmean(more),
                "ratios": more,
                "bar": None,
                "better": "higher",
                "holds": True,
                "note": f"scores chosen {sum(row['chosen'] == policy.SCORES for row in rules)} of "
                f"{len(rules)} times; equal mean times, {BUDGETS} of the way to the last exit",
                "runs": list(rules),
            }
        )
    return made
