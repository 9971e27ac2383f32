"""The ladder in C takes the same steps as the one in Python."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
import sanitized

from tvmkd.deploy import native_programs
from tvmkd.deploy.streaming.ladder import Ladder, Rules

FPS = 30


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [native_programs.source("ladder"), Path(__file__).with_name("ladder_steps.c")]
    return sanitized.build(tmp_path_factory.mktemp("ladder") / "steps", sources)


def played(seed: int) -> tuple[Rules, list[float], list[tuple[float, float | None, float | None]]]:
    """Rules, references, and a minute or two of frames whose board is sometimes slow or hot."""
    rng = random.Random(seed)
    hot = rng.choice([None, 80.0])
    cool = rng.choice([None, 65.0]) if hot is not None else None
    calm = rng.choice([1.0, 5.0])
    rules = Rules(30.0, hot=hot, cool=cool, calm_s=calm, settle_s=rng.choice([0.5, 10.0]))
    reference = sorted((rng.uniform(1, 40) for _ in range(rng.randint(2, 4))), reverse=True)
    slow, celsius, frames = 1.0, 60.0, []
    for number in range(FPS * rng.randint(60, 120)):
        if rng.random() < 0.02:
            slow = rng.choice([1.0, 1.0, 1.5, 3.0])
        celsius += rng.uniform(-0.4, 0.4)
        latency = None if rng.random() < 0.01 else reference[-1] * slow * rng.uniform(0.9, 1.4)
        frames.append((number / FPS, latency, celsius if hot is not None else None))
    return rules, reference, frames


def text(value: float | None) -> str:
    return "nan" if value is None else repr(value)


def test_both_take_the_same_steps(steps: Path) -> None:
    changes = 0
    for seed in range(40):
        rules, reference, frames = played(seed)
        ladder = Ladder(reference, rules)
        expected = []
        for second, latency, celsius in frames:
            ladder.feel(celsius)
            ladder.see(second, latency)
            expected.append(ladder.rung)
        head = [text(each) for each in (rules.budget_ms, rules.hot, rules.cool, rules.calm_s)]
        lines = [" ".join([*head, text(rules.settle_s), str(len(reference))])]
        lines.append(" ".join(map(repr, reference)))
        lines += [" ".join(map(text, frame)) for frame in frames]
        done = subprocess.run(
            [steps], input="\n".join(lines), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert list(map(int, done.stdout.split())) == expected, seed
        changes += len(ladder.steps)
    assert changes > 100
