#!/usr/bin/env python
"""Random networks through `tvmkd build`, and damaged files through the check of ONNX files.

Networks of ten to forty operators (`_random_networks.py`) are built without records, several in
one model, which costs one build. The artifact's outputs are compared with ONNX Runtime's on other
inputs than the build's own check has used. Where a model fails, its networks are built one by one.

Damaged files are random bytes, and valid models with bytes changed, cut out or doubled. Each must
be accepted or refused with an InputError; they are read in a process of their own, since the
libraries below could crash.

The peer is ONNX Runtime: the ratio is the share of networks with its outputs.
"""

from __future__ import annotations

import collections
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import _random_networks as random_networks
import numpy as np
import onnx
from _common import Result, finish, parser
from bench_onnx import difference

from tvmkd import artifact, targets
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.onnx_runtime import open_session
from tvmkd.base.runtimes import RUNTIMES, TVM
from tvmkd.base.text import first_line
from tvmkd.stacks import worker_pool
from tvmkd.stacks.compile import build

TOGETHER = 20


def outcome(model: onnx.ModelProto, folder: Path, stack: str, seed: int, runtime: str = TVM) -> str:
    """``right``, or what went wrong with a model in one line."""
    path, out = folder / f"{seed}.onnx", folder / str(seed)
    onnx.save(model, str(path))
    rng = np.random.default_rng(seed + 1)
    session = open_session(path, threads=1)
    feed = {
        entry.name: rng.standard_normal(entry.shape).astype(np.float32)
        for entry in session.get_inputs()
    }
    wanted = session.run(None, feed)
    try:
        host = targets.load("host")
        build(path, host, [], out, shipped=False, stack=stack, runtime=runtime)
    except TvmkdError as error:
        return f"not built: {error}"
    loaded = artifact.load(out)
    found = loaded.run([feed[spec.name] for spec in loaded.manifest.inputs])
    for spec, want, got in zip(loaded.manifest.outputs, wanted, found, strict=True):
        why = difference(want, np.asarray(got)) if np.isfinite(want).all() else None
        if why is not None:
            return f"output {spec.name}: {why}"
    return "right"


def networks(seeds: list[int], stack: str, tell: Any = print, runtime: str = TVM) -> dict[int, str]:
    """The outcome of the network of each seed."""
    found: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder, worker_pool.shared():
        for start in range(0, len(seeds), TOGETHER):
            part = seeds[start : start + TOGETHER]
            made = [random_networks.network(seed, f"n{seed}_") for seed in part]
            text = outcome(random_networks.model(*made), Path(folder), stack, part[0], runtime)
            if text == "right":
                found.update(dict.fromkeys(part, text))
            else:
                tell(f"of {part[0]} to {part[-1]}: {text}")
                for seed in part if len(part) > 1 else ():
                    alone = random_networks.model(random_networks.network(seed))
                    found[seed] = outcome(alone, Path(folder), stack, seed, runtime)
                    if found[seed] != "right":
                        tell(f"seed {seed}: {found[seed]}")
            found = {seed: found.get(seed, text) for seed in [*found, *part]}
            tell(f"{len(found)}/{len(seeds)} networks")
    return found


def damaged(seed: int) -> bytes:
    """A file that is no ONNX model, or a model with some bytes changed."""
    rng = np.random.default_rng(seed)
    if seed % 8 == 0:
        return rng.bytes(int(rng.integers(1, 400)))
    data = bytearray(random_networks.model(random_networks.network(seed % 50)).SerializeToString())
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(data)))
        how = int(rng.integers(4))
        if how == 0:
            data[at] = int(rng.integers(256))
        elif how == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 2:
            del data[at : at + int(rng.integers(1, 20))]
        else:
            data[at:at] = data[at : at + int(rng.integers(1, 20))]
    return bytes(data)


def read_damaged(first: int, count: int) -> int:
    """In a process of its own: how many files were refused; raises if one was not refused well."""
    from tvmkd.export import check

    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.onnx"
        for seed in range(first, first + count):
            path.write_bytes(damaged(seed))
            print(f"seed {seed}", file=sys.stderr, flush=True)
            try:
                check(path)
            except InputError as error:
                refused += 1
                text = str(error)
                if "\n" in text or str(path) not in text:
                    raise AssertionError(text) from error
    return refused


def files(count: int) -> list[str]:
    """What went wrong when ``count`` damaged files were read."""
    wrong, start = [], 0
    while start < count:
        argv = [sys.executable, __file__, "--read", str(start), str(count - start)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        lines = done.stderr.strip().splitlines()
        last = next(int(line[5:]) for line in reversed(lines) if line.startswith("seed "))
        wrong.append(f"file {last}: exit {done.returncode}: {lines[-1][:200]}")
        start = last + 1
    return wrong


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--count", type=int, default=1000, help="networks (default 1000)")
    options.add_argument("--seed", type=int, default=0, help="of the first network")
    options.add_argument("--files", type=int, default=10000, help="damaged files (default 10000)")
    options.add_argument("--stack", default="relax")
    options.add_argument("--runtime", choices=RUNTIMES, default=TVM)
    options.add_argument("--read", type=int, nargs=2, help="for this program itself")
    args = options.parse_args()
    if args.read:
        print(read_damaged(*args.read))
        return 0
    seeds = list(range(args.seed, args.seed + args.count))
    found = networks(seeds, args.stack, runtime=args.runtime)
    wrong = files(args.files)
    for text in wrong:
        print(text)
    ends = collections.Counter(first_line(ValueError(text), 60) for text in found.values())
    for text, number in ends.most_common():
        print(f"{number:5} {text}")
    results = []
    if found:
        share = sum(text == "right" for text in found.values()) / len(found)
        results.append(
            Result("random networks right, tvmkd over ONNX Runtime", share, 1.0, "higher")
        )
    if args.files:
        results.append(Result("damaged files not refused well", len(wrong) / args.files, 0.0))
    return finish(results, args.json, networks={str(k): v for k, v in found.items()}, files=wrong)


if __name__ == "__main__":
    sys.exit(main())
