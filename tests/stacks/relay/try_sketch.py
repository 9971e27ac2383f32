"""What a space of AutoScheduler's sketches proposes, as JSON; for the relay stack's interpreter."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tvmkd.tuning import tuner_backend

stack = tuner_backend.of("relay")
stack.import_compiler()

import numpy as np  # noqa: E402
import tiny_kernels  # noqa: E402

from tvmkd.stacks.relay import sketch  # noqa: E402

# The last round is evolved by the cost model, those before it are drawn at random.
sketch.WARM_UP, sketch.POPULATION = 8, 32


def rounds(seed: int) -> list[list[str]]:
    """The keys of three rounds of eight, each told the "times" of those before it."""
    task = tiny_kernels.relay_task("matmul:64", tiny_kernels.TARGET["tvm"])
    space = sketch.SketchSpace(task, [], sketch.cost_model(seed))
    rng = np.random.default_rng(seed)
    history, found = [], []
    for _ in range(3):
        known = {key for key, _ in history}
        proposed = space.propose(8, known, history, rng)
        found.append([each.key for each in proposed])
        for each in proposed:
            stack.source(each)
            history.append((each.key, 1e-6 * (1 + int(each.key[:4], 16) % 97)))
    return found


print(json.dumps([rounds(1), rounds(1), rounds(2)]))
