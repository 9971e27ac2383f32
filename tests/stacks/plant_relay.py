"""Records for a model without measuring, and a build of it, in the relay stack's interpreter.

``plant_relay.py MODEL RECORDS TARGET_JSON MODE...``: ``good`` gives every task a schedule that
AutoScheduler samples; ``wrong`` gives the costliest convolution another one and says that it is the
fastest of all; ``misfit`` gives it the steps of the dense layer. ``build OUT`` then builds with a
compiler that miscompiles the convolution wherever the ``wrong`` record is chosen, and prints the
manifest and the events as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tvmkd.tuning import tuner_backend

tuner_backend.of("relay").import_compiler()

import numpy as np  # noqa: E402
from tvm import relay  # noqa: E402

from tvmkd.stacks import build  # noqa: E402
from tvmkd.stacks.relay import build as relay_build  # noqa: E402
from tvmkd.stacks.relay import importer as relay_import  # noqa: E402
from tvmkd.stacks.relay import tasks as relay_tasks  # noqa: E402
from tvmkd.stacks.relay.sketch import SketchSpace, cost_model  # noqa: E402
from tvmkd.tuning.session import open_session  # noqa: E402
from tvmkd.tuning.space import Candidate  # noqa: E402

FASTEST = 1e-9


class Miscompiler(relay_build.RelayBuilder):
    def library(self, chosen, path, *, defaults):
        right = self._lowered
        if any(record.seconds == FASTEST for record in chosen.values()):
            self._lowered = Doubled().run(right)
        try:
            return super().library(chosen, path, defaults=defaults)
        finally:
            self._lowered = right


class Doubled(relay.ExprMutator):
    """The module with the outputs of its first convolution doubled."""

    done = False

    def run(self, mod):
        whole = mod.shallow_copy() if hasattr(mod, "shallow_copy") else type(mod)(mod.functions)
        whole["main"] = self.visit(mod["main"])
        return relay.transform.InferType()(whole)

    def visit_call(self, call):
        made = super().visit_call(call)
        if getattr(call.op, "name", "") == "nn.conv2d" and not self.done:
            self.done = True
            weight = relay.const(made.args[1].data.numpy() * np.float32(2))
            return relay.Call(made.op, [made.args[0], weight], made.attrs, made.type_args)
        return made


def main(model: str, folder: str, target_json: str, *modes: str) -> None:
    target = json.loads(target_json)
    read = relay_import.read(model)
    lowered = relay_import.channels_last(read.mod)
    tasks = relay_tasks.tasks_of(lowered, target)
    first = next(task for task in tasks if task.kind == "conv2d")
    if set(modes) & {"good", "wrong", "misfit"}:
        plant(tasks, first, Path(folder), target, modes)
    if "build" not in modes:
        return
    events = []
    manifest = build.build(
        Miscompiler(read, lowered, tasks, relay_tasks.tvm_target(target), target["toolchain"]),
        read,
        target,
        [Path(folder)],
        Path(modes[-1]),
        real_inputs=None,
        check=True,
        board=None,
        emit=lambda name, data: events.append([name, data]),
    )
    print(json.dumps({"manifest": manifest, "events": events}))


def plant(tasks, first, folder, target, modes) -> None:
    scorer, rng = cost_model(), np.random.default_rng(0)
    with open_session(folder, target, "relay") as session:

        def add(task, candidate, seconds):
            session.add(
                task,
                candidate,
                figure=seconds,
                seconds=[seconds],
                error_kind=None,
                error=None,
                board="planted",
                wall=0.0,
            )

        found = {
            task.key: SketchSpace(task, [], scorer).propose(2, set(), [], rng) for task in tasks
        }
        for task in tasks:
            if "good" in modes:
                add(task, found[task.key][0], 1e-4)
        if "wrong" in modes:
            add(first, found[first.key][1], FASTEST)
        if "misfit" in modes:
            [other, *_] = found[next(task for task in tasks if task.kind == "dense").key]
            line = found[first.key][0].schedule
            steps = other.schedule["i"][1]
            misfit = {**line, "i": [line["i"][0], steps]}
            add(first, Candidate(other.key, misfit), FASTEST)


main(*sys.argv[1:])
