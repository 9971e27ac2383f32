"""Compares artifacts with themselves: how often does an interval hold 1, and how often is a
difference claimed?

Each comparison is that of ``tvmkd compare``: one artifact under two names, in fresh processes. At
least 95% of the intervals should hold 1, and at most 5% of the verdicts claim a difference. There
are three networks, from 7 microseconds to 10 milliseconds, on one thread.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import _common
import _networks

from tvmkd import targets
from tvmkd.bench import CompareOptions, EngineSpec, compare
from tvmkd.stacks.compile import build

HOLD, CLAIM = 0.95, 0.05
CONV = "conv"
NETWORKS = (CONV, _networks.STUDENT, "mobilenet_v2")


@dataclass(frozen=True)
class One:
    """One comparison.

    Attributes:
        network: its name.
        ms: the smaller median.
        ratio, low, high: of the two names, and its interval.
        claimed: whether the verdict claims a difference.
        processes: starts of each name.
        warnings: how many the comparison had.
    """

    network: str
    ms: float
    ratio: float
    low: float
    high: float
    claimed: bool
    processes: int
    warnings: int

    @property
    def holds(self) -> bool:
        """Whether 1 is in the interval."""
        return self.low <= 1 <= self.high


def onnx_file(name: str, folder: Path) -> Path:
    """The network's ONNX file: one small convolution, or a network of the latency benchmarks."""
    if name != CONV:
        return _networks.onnx_file(name, folder)
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    weight = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        CONV,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 8, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = folder / f"{CONV}.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def compared(name: str, onnx: Path, artifact: Path, options: CompareOptions) -> One:
    """One comparison of an artifact with itself."""
    specs = [EngineSpec(label, "tvm", artifact) for label in "ab"]
    found = compare(specs, onnx, options=options)
    (pair,) = found.verdict.pairs
    return One(
        name,
        min(engine.p50 for engine in found.engines),
        pair.ratio,
        *pair.ci95,
        pair.decided,
        found.method.processes,
        len(found.warnings),
    )


def results(done: list[One]) -> list[_common.Result]:
    """The shares of all comparisons, with their limits, and those of each network."""
    found = []
    for name in ("", *dict.fromkeys(one.network for one in done)):
        these = [one for one in done if name in ("", one.network)]
        label, count = name or "all", len(these)
        note = f"{count} comparisons, {min(one.ms for one in these):.3g} ms"
        hold = sum(one.holds for one in these) / count
        claim = sum(one.claimed for one in these) / count
        bars = (None, None) if name else (HOLD, CLAIM)
        found += [
            _common.Result(f"{label}: intervals that hold 1", hold, bars[0], "higher", note=note),
            _common.Result(f"{label}: differences claimed", claim, bars[1], note=note),
        ]
    return found


def main() -> int:
    """Compares and counts; returns the exit code."""
    parser = _common.parser(__doc__ or "")
    parser.add_argument("--comparisons", type=int, default=201, help="in all (default 201)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=0.5, help="for each name (default 0.5)")
    parser.add_argument("--rounds", type=int, default=10, help="in each comparison (default 10)")
    parser.add_argument("--processes", type=int, help="starts of each name; default: tvmkd's rule")
    args = parser.parse_args()
    done: list[One] = []
    with tempfile.TemporaryDirectory(prefix="tvmkd-aa-") as work:
        files = {name: onnx_file(name, Path(work)) for name in args.networks}
        for name, onnx in files.items():
            build(onnx, targets.load("host"), [], Path(work) / name)
        # In turns, so that a change of the machine concerns all networks.
        for number in range(args.comparisons):
            name = args.networks[number % len(args.networks)]
            options = CompareOptions(
                threads=1,
                seconds=args.seconds,
                rounds=args.rounds,
                processes=args.processes,
                seed=number,
            )
            one = compared(name, files[name], Path(work) / name, options)
            done.append(one)
            print(
                f"{number + 1:4} {name:12} {one.ms:8.4f} ms  ratio {one.ratio:.3f} "
                f"({one.low:.3f} to {one.high:.3f}){'' if one.holds else '  leaves out 1'}"
                f"{'  CLAIMED' if one.claimed else ''}",
                flush=True,
            )
    rows = [{**asdict(one), "holds": one.holds} for one in done]
    return _common.finish(results(done), args.json, comparisons=rows)


if __name__ == "__main__":
    sys.exit(main())
