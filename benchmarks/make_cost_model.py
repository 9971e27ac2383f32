#!/usr/bin/env python
"""Makes the cost model that ships: measures random kernels, and trains on what was measured.

    python benchmarks/make_cost_model.py --target x86-64-v4 --collect 500 --samples /tmp/samples
    python benchmarks/make_cost_model.py --target x86-64-v4 --train --samples /tmp/samples

There is one model for each kind of core: for so many registers of so many floats.

The kernels are drawn at random: convolutions, grouped and depthwise ones, dense layers, products of
batches and of Winograd's points, of sizes that networks have, with what usually follows them. None
is taken from a network. Each configuration is timed on one core, the least of several runs. Call
--collect as often as you like; each call appends a file to the folder. --train leaves out a fifth
of the kernels, says how near the best configuration the model's first guess comes on them, and
then trains on all.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["TVM_NUM_THREADS"] = "1"

import numpy as np

from tvmkd.base.random_inputs import random_sample

SIZES = (4, 5, 7, 8, 10, 13, 14, 16, 19, 20, 24, 28, 32, 38, 40, 48, 56, 64, 80, 96, 112)
MOST_WORK, LEAST_WORK = 2e8, 2e4
EACH = 12
"""Configurations of a kernel that are measured: half of them the best ones by reckoning."""
HERTZ = 3e9
CATEGORIES = ("convolution", "convolution", "convolution", "grouped", "dense", "points", "batch",
              "depthwise", "depthwise")  # fmt: skip


def kernel(rng: np.random.Generator, widest: int, only: str | None = None) -> tuple[str, Any]:
    """The category and the module of a random kernel for registers of ``widest`` floats."""
    import tvm
    from tvm import te

    from tvmkd.stacks.relax import kernels

    def tensor(*shape: int) -> Any:
        return te.placeholder([int(size) for size in shape], "float32", name=f"x{len(shape)}")

    def channels(most: int = 1024) -> int:
        step = int(rng.choice([8, 8, 8, 4, 12]))
        return max(4, int(np.exp(rng.uniform(np.log(8), np.log(most)))) // step * step)

    def packed(channels: int) -> tuple[int, int]:
        lanes = kernels.lanes_for(channels, widest)
        return -(-channels // lanes), lanes

    category = only or str(rng.choice(CATEGORIES))
    size = [int(rng.choice(SIZES))] * 2
    if rng.random() < 0.15:
        size[1] = int(rng.choice(SIZES))
    window = int(rng.choice([1, 1, 1, 3, 3, 5, 7])) if category == "convolution" else 3
    stride = int(rng.choice([1, 1, 1, 2])) if window > 1 else 1
    inner, outer = channels(), channels()
    if category == "convolution" and rng.random() < 0.08:
        inner, size = int(rng.choice([1, 3, 4])), [int(rng.choice([96, 128, 160, 192, 224]))] * 2
        stride, outer = 2, channels(96)
    pads = [window // 2] * 4
    if category in ("convolution", "grouped"):
        groups = 1
        if category == "grouped":
            per = int(rng.choice([8, 16, 24, 32, 64]))
            groups = int(rng.choice([2, 4, 8, 13, 16, 26, 32]))
            inner, outer = per * groups, per * groups
            if per % 16:
                widest = kernels.LANES  # groups have whole blocks
        blocks = packed(outer)
        weight = tensor(blocks[0], window, window, inner // groups, blocks[1])
        x = tensor(1, *size, inner)
        more = [groups] if groups > 1 else []
        y = kernels.convolution(x, weight, outer, [stride] * 2, pads, [1, 1], *more)
    elif category == "depthwise":
        window = int(rng.choice([3, 3, 5, 7]))
        stride = int(rng.choice([1, 1, 2]))
        x, weight = tensor(1, *size, outer), tensor(window, window, outer)
        y = kernels.depthwise(x, weight, [stride] * 2, [window // 2] * 4, [1, 1])
    elif category == "dense":
        rows = int(rng.choice([1, 1, 4, 16, 49, 64, 128, 196, 197, 256]))
        blocks = packed(outer)
        x, weight = tensor(rows, inner), tensor(blocks[0], 1, 1, inner, blocks[1])
        y = kernels.dense(x, weight, outer)
    elif category == "points":
        tiles = int(rng.choice([16, 25, 36, 49, 64, 100, 196]))
        blocks = packed(outer)
        x, weight = tensor(36, tiles, inner), tensor(36, blocks[0], inner, blocks[1])
        y = kernels.batch_matmul(x, weight, blocks[0] * blocks[1])
    else:
        batch, rows = (
            int(rng.choice([1, 2, 3, 4, 6, 8, 12])),
            int(rng.choice([16, 49, 64, 196, 197])),
        )
        inner = int(rng.choice([16, 24, 32, 48, 64, 196]))
        outer = int(rng.choice([16, 32, 49, 64, 196, 197]))
        blocks = packed(outer)
        x, weight = tensor(batch, rows, inner), tensor(batch, blocks[0], inner, blocks[1])
        y = kernels.batch_matmul(x, weight, outer)
    arguments = [x, weight]
    if category not in ("points", "batch"):
        arguments, y = _followed(rng, arguments, y)
    function = te.create_prim_func([*arguments, y])
    return category, tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def _followed(rng: np.random.Generator, arguments: list[Any], y: Any) -> tuple[list[Any], Any]:
    """The kernel with what networks put behind it."""
    from tvm import te, tirx

    bias = te.placeholder((y.shape[-1],), "float32", name="bias")
    arguments = [*arguments, bias]
    y0 = y
    y = te.compute(y.shape, lambda *at: y0[at] + bias[at[-1]], name="biased")
    zero, one, half = (tirx.const(value, "float32") for value in (0, 1, 0.5))
    functions = {
        "none": None,
        "relu": lambda v: te.max(v, zero),
        "silu": lambda v: v * tirx.sigmoid(v),
        "gelu": lambda v: v * half * (one + tirx.erf(v * tirx.const(0.70710678, "float32"))),
    }
    function = functions[str(rng.choice(["none", "relu", "relu", "silu", "gelu"]))]
    if function is not None:
        y1 = y
        y = te.compute(y.shape, lambda *at: function(y1[at]), name="activated")
    elif rng.random() < 0.5:
        other = te.placeholder(y.shape, "float32", name="other")
        arguments, y2 = [*arguments, other], y
        y = te.compute(y.shape, lambda *at: y2[at] + other[at], name="added")
    return arguments, y


def measured(target: Any, cpu: Any, mod: Any, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """The configurations of a kernel that are tried, each with its ``seconds``."""
    import tvm
    from tvm import s_tir
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    from tvmkd.stacks.relax.templates import RANKED
    from tvmkd.stacks.relax.templates.enumerated import EnumeratedSpace

    found = ((t, kind, t.configs(s_tir.Schedule(mod), cpu)) for t, kind in RANKED.items())
    template, kind, configs = next((each for each in found if each[2]), (None, "", []))
    if template is None:
        return
    configs.sort(key=template.cycles)
    space = EnumeratedSpace(mod, [{**c, "parallel": False} for c in configs], template.apply)
    shapes = [[int(size) for size in info.shape] for info in ArgInfo.from_prim_func(mod["main"])]
    specs = [{"name": str(i), "shape": s, "dtype": "float32"} for i, s in enumerate(shapes)]
    arguments = [tvm.runtime.tensor(v) for v in random_sample(rng, specs).values()]
    count = len(configs)
    first = list(range(min(EACH // 2, count)))
    rest = [int(n) for n in rng.permutation(np.arange(len(first), count))[: EACH - len(first)]]
    for number in [*first, *rest]:
        member = space.member(number)
        if member is None:
            continue
        library = tvm.tirx.build(member.schedule.mod, target=target)
        timer = library.time_evaluator("main", tvm.cpu(), number=1, repeat=2)
        once = min(timer(*arguments).results)
        number_of = max(1, int(1e-3 / once))
        timer = library.time_evaluator("main", tvm.cpu(), number=number_of, repeat=9)
        config = {k: v for k, v in (member.config or {}).items() if k != "parallel"}
        yield {"kind": kind, "config": config, "seconds": min(timer(*arguments).results)}


def collect(name: str, count: int, folder: Path, seed: int, only: str | None) -> None:
    """Measures ``count`` kernels for the target ``name`` and appends a file to ``folder``."""
    from tvmkd.runtime.tvm_process import import_compiler

    import_compiler()
    from tvmkd import targets
    from tvmkd.stacks.relax import vector_math
    from tvmkd.stacks.relax.stack import tvm_target
    from tvmkd.stacks.relax.templates.cpu import Cpu

    vector_math.install()
    spec = targets.load(name).to_dict()
    target, cpu = tvm_target(spec), Cpu.of(spec)
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"samples-{seed}-{os.getpid()}.jsonl"
    begin, done = time.monotonic(), 0
    with path.open("w", encoding="utf-8") as file:
        while done < count:
            category, mod = kernel(rng, cpu.lanes, only)
            space_work = _work(mod)
            if not LEAST_WORK < space_work < MOST_WORK:
                continue
            done += 1
            for sample in measured(target, cpu, mod, rng):
                line = {"kernel": f"{seed}/{done}", "category": category, **sample}
                file.write(json.dumps(line) + "\n")
            file.flush()
            if done % 20 == 0:
                left = (time.monotonic() - begin) / done * (count - done)
                print(f"{done} of {count} kernels, about {left / 60:.0f} minutes left", flush=True)


def _work(mod: Any) -> float:
    from tvm.s_tir.analysis import estimate_tir_flops

    return float(estimate_tir_flops(mod)) / 2


def read(folder: Path) -> list[dict[str, Any]]:
    """All samples."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob("samples-*.jsonl")):
        lines += [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return [line for line in lines if line["config"].get("waste", 1.0) == 1.0]


def train(name: str, folder: Path, out: Path | None) -> None:
    """Trains a model for each kind, says how good it is, and writes the files that ship."""
    import xgboost

    from tvmkd import targets
    from tvmkd.stacks.relax.templates import cost_model
    from tvmkd.stacks.relax.templates.cpu import Cpu

    cpu, found = Cpu.of(targets.load(name).to_dict()), read(folder)
    out = out or cost_model.folder_for(cpu.lanes, cpu.registers)
    facts: dict[str, Any] = {
        "version": cost_model.VERSION,
        "target": name,
        "models": {},
    }
    out.mkdir(parents=True, exist_ok=True)
    for kind in cost_model.FEATURES:
        samples = [sample for sample in found if sample["kind"] == kind]
        x = np.array([cost_model.row(kind, s["config"]) for s in samples], np.float32)
        ideal = np.array([cost_model.ideal_cycles(s["config"], cpu) for s in samples]) / HERTZ
        y = np.log(np.array([s["seconds"] for s in samples]) / ideal)
        names = np.array([s["kernel"] for s in samples])
        held = np.array([int(hashlib.sha256(n.encode()).hexdigest(), 16) % 5 == 0 for n in names])

        def fitted(rows: np.ndarray, times: np.ndarray) -> Any:
            model = xgboost.XGBRegressor(
                n_estimators=240, max_depth=7, learning_rate=0.08, subsample=0.8,
                colsample_bytree=0.8, min_child_weight=3, random_state=0, n_jobs=1,
            )  # fmt: skip
            return model.fit(rows, times)

        guess = fitted(x[~held], y[~held]).predict(x[held])
        quality = _quality(names[held], y[held], guess)
        reckoned = np.array([_reckoned(kind, s["config"]) for s in samples])[held]
        before = _quality(names[held], y[held], reckoned)
        path = out / f"{kind}.json.gz"
        draft = out / f".{kind}.json"
        fitted(x, y).save_model(draft)
        path.write_bytes(gzip.compress(_small(draft.read_text()).encode(), 9, mtime=0))
        draft.unlink()
        facts["models"][kind] = {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "samples": len(samples),
            "kernels": len(set(names)),
            "held_out": quality,
        }
        print(f"{kind}: {len(samples)} samples of {len(set(names))} kernels; on kernels left out")
        print(
            f"  the first guess reaches {quality['speed']:.1%} of the best speed (geometric mean;"
        )
        print(f"  by reckoning {before['speed']:.1%}), at least {quality['tenth']:.1%} for 9 of 10")
        print(f"  (by reckoning {before['tenth']:.1%}); {path.stat().st_size / 1024:.0f} KiB")
    (out / cost_model.ABOUT).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _reckoned(kind: str, config: dict[str, Any]) -> float:
    from tvmkd.stacks.relax.templates import depthwise, packed

    module = {"packed": packed, "depthwise": depthwise}[kind]
    return float(np.log(module.cycles(config)))


def _quality(names: np.ndarray, times: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    """How near the best measured speed of each kernel the configuration comes that is guessed."""
    grouped: dict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(names):
        grouped[name].append(number)
    shares = []
    for numbers in grouped.values():
        if len(numbers) > 1:
            chosen = min(numbers, key=lambda number: guess[number])
            shares.append(float(np.exp(times[numbers].min() - times[chosen])))
    error = float(np.sqrt(np.mean((times - guess) ** 2)))
    return {
        "speed": round(float(np.exp(np.mean(np.log(shares)))), 4),
        "tenth": round(float(np.quantile(shares, 0.1)), 4),
        "log_error": round(error, 4),
    }


def _small(text: str) -> str:
    """XGBoost's JSON without what only training needs, and with seven digits."""
    model = json.loads(text)
    kept = ("left_children", "right_children", "split_indices", "split_conditions", "default_left",
            "base_weights", "parents", "sum_hessian", "loss_changes", "categories", "tree_param",
            "categories_nodes", "categories_segments", "categories_sizes", "split_type",
            "id")  # fmt: skip
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        for name in list(tree):
            if name not in kept:
                del tree[name]
        for name in ("base_weights", "sum_hessian", "loss_changes"):
            tree[name] = [0.0] * len(tree[name])
    return json.dumps(model, separators=(",", ":"))


def main() -> None:
    """Collects, trains, or both."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--collect", type=int, metavar="KERNELS")
    options.add_argument("--train", action="store_true")
    options.add_argument("--samples", type=Path, required=True, help="folder of what was measured")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--target", required=True)
    options.add_argument("--only", choices=sorted(set(CATEGORIES)), help="kernels of one kind")
    options.add_argument("--out", type=Path, help="default: where the models ship")
    args = options.parse_args()
    if args.collect:
        collect(args.target, args.collect, args.samples / args.target, args.seed, args.only)
    if args.train:
        train(args.target, args.samples / args.target, args.out)


if __name__ == "__main__":
    main()
