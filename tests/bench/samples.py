"""Made-up comparisons with known statistics, and the files that a report reads."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvmkd.base import engine_registry
from tvmkd.bench import schema
from tvmkd.bench.verdict import decide
from tvmkd.timing import stats

if TYPE_CHECKING:
    import torch

ROUNDS = 10


def engine(
    name: str,
    median_ms: float,
    *,
    spread: float = 0.02,
    drift: float = 0.0,
    calls: int = 400,
    seed: int = 0,
    **fields: object,
) -> schema.Engine:
    """An engine whose calls are log-normal round ``median_ms``, some of them slow."""
    rng = np.random.default_rng(seed)
    per_round = np.exp(rng.normal(0, drift, ROUNDS)).repeat(calls // ROUNDS)
    samples = median_ms * np.exp(rng.normal(0, spread, calls)) * per_round
    samples[rng.random(calls) < 0.02] *= 1.5
    values = [float(value) for value in samples]
    made = schema.Engine.model_validate(
        {
            "name": name,
            "kind": name if name in engine_registry.ENGINES else "onnxruntime",
            "precision": "fp32",
            "threads": 2,
            "samples_ms": values,
            "round_sizes": [calls // ROUNDS] * ROUNDS,
            **{f"p{q}": stats.percentile(values, q) for q in (50, 90, 95, 99)},
            "mean": float(np.mean(values)),
            "min": min(values),
            "max": max(values),
            "ci95": (0.0, 0.0),
            "max_abs_error": 2e-6,
            "relative_error": 1e-6,
            "build_seconds": 0.4,
            "size_bytes": 1_234_567,
            "warm_up": {"calls": 50, "seconds": 1.0, "stable": True, "spread": 0.01},
            "facts": {"version": "1.0", "peak_rss_bytes": 120_000_000},
            **fields,
        }
    )
    return made.model_copy(update={"ci95": stats.median_ci(made.rounds())})


def comparison(*engines: schema.Engine, budget_ms: float | None = None) -> schema.Comparison:
    """A comparison of ``engines``."""
    return schema.Comparison(
        tool="tvmkd 0.1.0",
        created="2026-11-23T12:00:00+00:00",
        model=schema.Model(
            path="/models/student.onnx",
            sha256="0123456789abcdef" * 4,
            inputs=[schema.Tensor(name="x", shape=[1, 1, 32, 32], dtype="float32")],
            outputs=[schema.Tensor(name="y", shape=[1, 10], dtype="float32")],
        ),
        context=schema.Context(
            machine="x86_64",
            system="Linux 6.1",
            cpu="AMD EPYC 7B13",
            cpus=2,
            temperature_c=[None, None],
            mhz=[2450.0, 2450.0],
            load_1min=[0.1, 1.2],
            python="3.11.2",
            versions={item.name: "1.0" for item in engines},
        ),
        method=schema.Method(
            threads=2,
            pinned_cpus=[0, 1],
            rounds=ROUNDS,
            order="ABBA: every other round in reverse order",
            seconds=5,
            seed=0,
            samples_checked=3,
            reference="ONNX Runtime, FP32",
            measured="numpy arrays in and out",
            idle="stopped",
        ),
        budget=None if budget_ms is None else schema.Budget(model_ms=budget_ms),
        engines=list(engines),
        verdict=decide(engines),
    )


@functools.lru_cache
def five(budget_ms: float | None = 3.0) -> schema.Comparison:
    """The engines of a usual run, one of them left out. Made once: change copies only."""
    made = comparison(
        engine("tvm", 0.82, seed=1),
        engine("onnxruntime", 1.04, seed=2, spread=0.03),
        engine("torch.compile", 1.62, seed=3, spread=0.05),
        engine("torch", 2.71, seed=4, spread=0.08),
        engine("tvm:untuned", 17.9, seed=5, spread=0.01),
        budget_ms=budget_ms,
    )
    left_out = schema.LeftOut(
        name="tensorrt", kind="tensorrt", why="missing", reason="tensorrt is not <installed>"
    )
    return made.model_copy(
        update={"left_out": [left_out], "warnings": ["other processes used 0.31 CPUs"]}
    )


ACCURACY = [
    {"name": "teacher", "accuracy": 0.989, "latency_ms": 6.4},
    {"name": "student alone", "accuracy": 0.958, "latency_ms": 0.82},
    {"name": "student distilled", "accuracy": 0.975, "latency_ms": 0.82},
]

KERNELS = [
    {"kernel": f"fused_conv2d_add_relu_{i}", "calls": 1 + i % 3, "us": 160 / (i + 1)}
    for i in range(18)
]


def records(folder: Path, trials: int = 120) -> Path:
    """A records folder of three tasks that get better; one trial in nine fails; torn last line."""
    rng = np.random.default_rng(0)
    tasks = [
        {"key": f"key{i}", "name": f"fused_conv2d_{i}", "weight": i + 1, "flop": 1e6}
        for i in range(3)
    ]
    folder.mkdir(parents=True)
    (folder / "session.json").write_text(json.dumps({"tasks": tasks}), encoding="utf-8")
    lines = []
    for number in range(trials):
        failed = number % 9 == 8
        seconds = 1e-4 * (1 + 4 * rng.random() / (1 + number / 8))
        lines.append(
            json.dumps(
                {
                    "task": f"key{number % 3}",
                    "trial": number,
                    "seconds": None if failed else [seconds] * 3,
                    "status": "run_timeout" if failed else "ok",
                }
            )
        )
    text = "\n".join(lines) + '\n{"task": "key0", "sec'
    (folder / "trials.jsonl").write_text(text, encoding="utf-8")
    return folder


def network() -> torch.nn.Module:
    """The depthwise student with every weight random: a fresh one starts with outputs of zero."""
    import torch

    from tvmkd import models

    torch.manual_seed(0)
    module = models.build("depthwise").eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return module
