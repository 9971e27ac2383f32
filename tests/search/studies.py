"""Studies made up for tests."""

from __future__ import annotations

import random
from typing import Any

from tvmkd.search.results import Point, Study


def point(number: int, accuracy: float | None = None, **known: Any) -> Point:
    fields = {"number": number, "structure": {}, "state": "complete", "accuracy": accuracy}
    return Point.model_validate({**fields, **known})


def study(points: list[Point] | None = None, **known: Any) -> Study:
    fields = {
        "tvmkd_version": "1",
        "name": "s",
        "method": "study",
        "objective": "accuracy",
        "target": "host",
        "unit": "ms",
        "metric": "accuracy",
        "points": points or [],
    }
    return Study.model_validate({**fields, **known})


def drawn(count: int, *, seed: int = 0, slowest: float = 8.0) -> list[Point]:
    """Points as a search leaves them: pruned, failed and infeasible ones among them."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        width = rng.choice([0.25, 0.5, 0.75, 1.0, 1.25, 1.5])
        model = rng.choice(["depthwise", "bottleneck"])
        structure = {"width": width, "model": model, "kernel": rng.choice([3, 5, 7])}
        state = rng.choices(["complete", "pruned", "failed", "infeasible"], [14, 4, 1, 1])[0]
        latency = slowest * (width / 1.5) ** 2 * rng.uniform(0.7, 1.4)
        if model == "bottleneck":
            latency *= 1.4
        fields: dict[str, Any] = {"structure": structure, "state": state, "epochs": 2}
        fields["macs"] = int(latency * 1e6 * (0.6 if model == "bottleneck" else 1.3))
        fields["parameters"] = int(40_000 * width)
        fields["predicted"] = latency
        fields["low"], fields["high"] = latency * 0.94, latency * 1.07
        fields["seconds"] = 3.0
        if state == "complete":
            fields["accuracy"] = 0.99 - 0.12 / (1 + 4 * latency / slowest) + rng.gauss(0, 0.008)
            fields["test_accuracy"] = fields["accuracy"] - 0.01
            fields["epochs"] = 8
            fields["checkpoint"] = f"trials/{number}/student.pt"
            if rng.random() < 0.4:
                fields["measured"] = latency * rng.gauss(1, 0.03)
        if state == "pruned":
            fields["accuracy"] = 0.6 + rng.random() / 5
        if state == "failed":
            fields["error"] = "the loss is not finite after 40 steps"
        made.append(point(number, **fields))
    return made
