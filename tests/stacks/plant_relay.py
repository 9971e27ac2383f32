"""Records of the relay stack for a model without measuring, and a build with a miscompiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    from tvm import relay
    from tvm.auto_scheduler import RandomModel, SketchPolicy

    from tvmkd.stacks import build
    from tvmkd.stacks.relay import build as relay_build
    from tvmkd.stacks.relay import importer as relay_import
    from tvmkd.stacks.relay import tasks as relay_tasks
    from tvmkd.stacks.relay.sketch import candidate, odd_vectors
    from tvmkd.tuning.session import open_session
    from tvmkd.tuning.space import Candidate

FASTEST = 1e-9


def miscompiler(*given: Any) -> Any:
    """A builder that miscompiles the first convolution wherever the ``wrong`` record is chosen."""

    class Miscompiler(relay_build.RelayBuilder):
        def library(self, chosen, path, *, defaults):
            right = self._lowered
            if any(record.seconds == FASTEST for record in chosen.values()):
                self._lowered = doubled(right)
            try:
                return super().library(chosen, path, defaults=defaults)
            finally:
                self._lowered = right

    return Miscompiler(*given)


def doubled(mod: Any) -> Any:
    """The module with the outputs of its first convolution doubled."""

    class Doubled(relay.ExprMutator):
        done = False

        def visit_call(self, call):
            made = super().visit_call(call)
            if getattr(call.op, "name", "") == "nn.conv2d" and not self.done:
                self.done = True
                weight = relay.const(made.args[1].data.numpy() * np.float32(2))
                return relay.Call(made.op, [made.args[0], weight], made.attrs, made.type_args)
            return made

    whole = mod.shallow_copy() if hasattr(mod, "shallow_copy") else type(mod)(mod.functions)
    whole["main"] = Doubled().visit(mod["main"])
    return relay.transform.InferType()(whole)


def lowered(model: Path, target: dict[str, Any]) -> tuple[Any, Any, list[Any]]:
    read = relay_import.read(model)
    last = relay_import.channels_last(read.mod)
    return read, last, relay_tasks.tasks_of(last, target)


@inside("relay")
def build_wrongly(model: Path, folder: Path, target: dict[str, Any], out: Path) -> dict[str, Any]:
    """Builds with a `miscompiler`; returns the manifest and the events."""
    read, last, tasks = lowered(model, target)
    events = []
    manifest = build.build(
        miscompiler(read, last, tasks, relay_tasks.tvm_target(target), target["toolchain"]),
        read,
        target,
        [folder],
        out,
        real_inputs=None,
        check=True,
        board=None,
        emit=lambda name, data: events.append([name, data]),
    )
    return {"manifest": manifest, "events": events}


def sampled(task: Any) -> list[Any]:
    """A few different candidates of a task, without a search."""
    params = {"sample_init_min_population": 4, "evolutionary_search_population": 8}
    policy = SketchPolicy(task.mod, RandomModel(), params=params, seed=1, verbose=0)
    found = [candidate(task.mod, state)[0] for state in policy.sample_initial_population()]
    return list({each.key: each for each in found if not odd_vectors(each.schedule)}.values())


@inside("relay")
def plant(model: Path, folder: Path, target: dict[str, Any], modes: list[str]) -> None:
    """Writes records of each mode.

    ``good`` gives every task a schedule that AutoScheduler samples; ``wrong`` gives the cheapest
    convolution another one and says that it is the fastest of all; ``misfit`` gives the costliest
    one the steps of the dense layer and says the same.
    """
    _, _, tasks = lowered(model, target)
    convolutions = [task for task in tasks if task.kind == "conv2d"]
    first, last = (convolutions[place] for place in (0, -1)) if convolutions else (None, None)
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

        found = {task.key: sampled(task) for task in tasks}
        for task in tasks:
            if "good" in modes:
                add(task, found[task.key][0], 1e-4)
        if "wrong" in modes:
            add(last, found[last.key][1], FASTEST)
        if "misfit" in modes:
            other, *_ = found[next(task for task in tasks if task.kind == "dense").key]
            line = found[first.key][0].schedule
            steps = other.schedule["i"][1]
            misfit = {**line, "i": [line["i"][0], steps]}
            add(first, Candidate(other.key, misfit), FASTEST)


@inside("relay")
def read_by_upstream(log: Path) -> int:
    """How many records upstream's own reader finds in an AutoScheduler log."""
    from tvm.auto_scheduler import ApplyHistoryBest, load_records

    found = list(load_records(str(log)))
    assert ApplyHistoryBest(str(log)).best_by_targetkey
    return len(found)
