#!/usr/bin/env python
"""Makes records for boards that are not here: schedules chosen by a score, never timed on a board.

    python benchmarks/make_scored_schedules.py --target jetson-nano --work /tmp/scored --minutes 60
    python benchmarks/make_scored_schedules.py --target raspberry-pi-4 --work /tmp/scored \
        --among jetson-nano

The kernels of edge12 are compiled for the board, those with most work first, each with the
schedules that its template puts first; QEMU runs them with one thread, and `_score` reckons their
cycles. `bench_score.py` says how well that agrees with a clock where there is one. Outputs are
compared between the schedules of a kernel. Whether threads share a kernel is decided from its score
and what starting them costs.

The first schedule stays unless another one is reckoned to take at most 0.9 of its time: on x86-64
smaller differences say little. --among tries only the best schedules of another target's kernels,
which saves time where the cores are alike. The records are written to schedules/relax/TARGET;
``session.json`` says ``"evaluator": "score"``, and `tvmkd build` names them so. Records that were
measured on a board win over them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ["TVM_NUM_THREADS"] = "1"

import _common  # noqa: F401 - makes tvmkd importable
from _networks import EDGE12, onnx_file
from _score import MACHINES, Score, Scorer

from tvmkd import targets
from tvmkd.base.files import sha256, write_text
from tvmkd.tuning import records
from tvmkd.tuning.session import SCORE, Session, open_session

EACH = 4
"""Schedules of a kernel."""
ENOUGH = 0.9
"""A schedule replaces the template's first one if its score is lower than this share of it."""
SAME = 1e-4
"""Of the output's largest value: by how much the outputs of two schedules may differ."""


def serial(space: Any) -> Iterator[tuple[int, Any]]:
    """The numbers and members of a space, best first; without threads where it has the choice."""
    choice = any(not config.get("parallel") for config in space.configs)
    for number, config in enumerate(space.configs):
        if choice and config.get("parallel"):
            continue
        member = space.member(number)
        if member is not None:
            yield number, member


def with_threads(space: Any, number: int, cycles: float, threads: int) -> Any:
    """The member with a number, with threads if they pay for a kernel of that many cycles."""
    from tvmkd.stacks.relax.templates.threads import SYNC

    config = space.configs[number]
    steps = int(config.get("steps") or threads)
    shared = cycles * math.ceil(steps / threads) / steps + SYNC
    if shared < cycles:
        for other, candidate in enumerate(space.configs):
            if candidate.get("parallel") and _rest(candidate) == _rest(config):
                return space.member(other) or space.member(number)
    return space.member(number)


def _rest(config: dict[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in config.items() if name not in ("parallel", "expected")}


class Maker:
    """Scores the kernels of one target into a session.

    Args:
        target: the board.
        session: where records go.
        scorer: runs kernels.
        folder: for libraries.
        among: the candidates of another target that are tried, by task key; None: any.
    """

    def __init__(
        self,
        target: targets.Target,
        session: Session,
        scorer: Scorer,
        folder: Path,
        among: dict[str, set[str]] | None,
    ) -> None:
        import tvm

        from tvmkd.stacks.linker import Linker
        from tvmkd.stacks.relax.stack import tvm_target

        spec = target.to_dict()
        self._session, self._scorer, self._folder, self._among = session, scorer, folder, among
        self._setup = tvm.ir.save_json(tvm_target(spec))
        self._linker = Linker(spec["toolchain"])
        self._number = 0
        self._threads = int(spec["tvm"].get("num-cores") or 1)

    def _score(self, member: Any) -> Score | None:
        import tvm

        from tvmkd.stacks.relax.metaschedule import compile_object

        self._number += 1  # the guest has the library of the last kernel open
        path = self._folder / f"{self._number}.so"
        part = path.with_suffix(".o")
        args = compile_object(tvm.ir.save_json(member.schedule.mod), self._setup, part)
        self._linker(str(path), [str(part)])
        part.unlink()
        found = self._scorer.score(path, args)
        path.unlink()
        return found

    def task(self, task: Any) -> str:
        """Scores a task's first schedules, and records the best; says what came of it."""
        space = task.template
        if space is None or not getattr(space, "size", None):
            return "no template"
        wanted = self._among.get(records.normal_key(task.key)) if self._among is not None else None
        begin, tried = time.monotonic(), list[tuple[float, int, Any, Score]]()
        for number, member in serial(space):
            if wanted is not None and member.key not in wanted:
                continue
            score = self._score(member)
            if score is None or (tried and not alike(score.output, tried[0][3].output)):
                continue
            tried.append((score.cycles, number, member, score))
            if len(tried) == EACH:
                break
        if not tried:
            return "no schedule of it ran"
        first, best = tried[0], min(tried, key=lambda each: each[0])
        chosen = best if best[0] < ENOUGH * first[0] else first
        cycles, number, member, score = chosen
        self._session.add(
            task,
            with_threads(space, number, cycles, self._threads),
            figure=score.seconds,
            seconds=None,
            error_kind=None,
            error=None,
            board=None,
            wall=time.monotonic() - begin,
            facts={
                "score": asdict(score),
                "tried": [[round(cycles), member.key] for cycles, _, member, _ in tried],
            },
        )
        return (
            f"{len(tried)} schedules, the chosen one reckoned {cycles / first[0]:.2f} of the first"
        )


def alike(got: list[float], wanted: list[float]) -> bool:
    """Whether two outputs agree, by the figures that the emulated program printed of them."""
    return all(
        abs(a - b) <= SAME * max(abs(wanted[-1]), 1e-6) for a, b in zip(got, wanted, strict=True)
    )


def tasks_of_networks(
    target: targets.Target, networks: list[str], folder: Path
) -> tuple[list[Any], list[str]]:
    """The kernels of the networks, most work first, and the networks' hashes."""
    from tvmkd.stacks.relax import importer
    from tvmkd.stacks.relax.stack import tvm_target
    from tvmkd.stacks.relax.tasks import tasks_of
    from tvmkd.stacks.relax.templates.cpu import Cpu

    spec = target.to_dict()
    cpu, goal = Cpu.of(spec), tvm_target(spec)
    found: dict[str, Any] = {}
    hashes = []
    for name in networks:
        path = onnx_file(name, folder) if name in EDGE12 else Path(name)
        hashes.append(sha256(path))
        model = importer.read(path, {}, None)
        for task in tasks_of(importer.fuse(model.mod, goal, cpu), goal, cpu):
            if task.key in found:
                found[task.key].weight += task.weight
            else:
                found[task.key] = task
        print(f"{name}: {len(found)} kernels so far", flush=True)
    return sorted(found.values(), key=lambda task: -task.flop * task.weight), hashes


def best_of(folder: Path) -> dict[str, set[str]]:
    """The keys of the first and the two best schedules of each task in a session."""
    return {
        records.normal_key(line["task"]): {
            line["tried"][0][1],
            *(key for _, key in sorted(line["tried"])[:2]),
        }
        for line in records.trials(folder)
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--target", choices=[n for n in MACHINES if "x86" not in n], required=True)
    options.add_argument("--networks", nargs="+", default=list(EDGE12), metavar="NAME|FILE")
    options.add_argument("--among", metavar="TARGET")
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--work", type=Path, required=True)
    args = options.parse_args()
    from tvmkd.runtime.tvm_process import import_compiler

    tvm = import_compiler()
    from tvmkd.stacks.relax import lookup, vector_math

    vector_math.install()
    lookup.install()
    target = targets.load(args.target)
    tasks, hashes = tasks_of_networks(target, args.networks, args.work)
    among = best_of(args.work / args.among) if args.among else None
    folder = args.work / args.target
    with (
        tempfile.TemporaryDirectory(prefix="tvmkd-scored-") as name,
        open_session(
            folder, target.to_dict(), "relax", stack_version=tvm.__version__, evaluator=SCORE
        ) as session,
        Scorer(MACHINES[args.target], Path(name)) as scorer,
    ):
        session.info["models"] = sorted({*session.info["models"], *hashes})
        session.describe(tasks, [], 0)
        until = time.monotonic() + 60 * args.minutes
        maker = Maker(target, session, scorer, Path(name), among)
        for number, task in enumerate(tasks):
            if time.monotonic() > until:
                print(f"{len(tasks) - number} kernels are left without a record")
                break
            if session.trials(task.key):
                continue
            print(f"{number + 1} of {len(tasks)} {task.name}: {maker.task(task)}", flush=True)
    out = Path(__file__).resolve().parents[1] / "schedules" / "relax" / target.name
    print(f"{records.compact([folder], out)} records in {out}")
    sidecar = out / records.SIDECAR
    info = json.loads(sidecar.read_text(encoding="utf-8"))
    info["statistic"] = "reckoned cycles of one thread; never timed on a board"
    write_text(sidecar, json.dumps(info, indent=1) + "\n")


if __name__ == "__main__":
    main()
