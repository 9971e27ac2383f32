#!/usr/bin/env python
"""Makes the tuning records that ship under schedules/: tunes each network and keeps the best.

    python benchmarks/make_schedules.py --target x86-64-v3 --trials-per-task 48 --work /tmp/records

Tuning writes its records to WORK and resumes from there. The best records of each kernel, over all
networks, are copied to schedules/STACK/TARGET. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _networks import EDGE12, NETWORKS, onnx_file

from tvmkd import targets
from tvmkd.base import stack_registry
from tvmkd.stacks.client import StackClient
from tvmkd.stacks.compile import tune
from tvmkd.tuning import records, table

MODELS = list(NETWORKS | EDGE12)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--stack", choices=stack_registry.names(), default=stack_registry.DEFAULT)
    options.add_argument("--target", default="x86-64-v3")
    options.add_argument("--trials-per-task", type=int, default=48)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    args = options.parse_args()
    target = targets.load(args.target)
    folder = args.work / args.stack / target.name
    for name in args.models:
        onnx = onnx_file(name, args.work)
        with StackClient(args.stack) as stack:
            tasks = stack.lower(onnx, target.to_dict())["tasks"]
        trials = args.trials_per_task * len(tasks)
        print(f"{name}: {len(tasks)} tasks, up to {trials} trials")
        with table.following() as follow:
            tune(
                onnx,
                target,
                folder,
                trials=trials,
                tracker=None,
                key="local",
                stack=args.stack,
                on_event=follow,
            )
    out = Path(__file__).resolve().parents[1] / "schedules" / args.stack / target.name
    print(f"{records.compact([folder], out, keep=2)} records in {out}")


if __name__ == "__main__":
    main()
