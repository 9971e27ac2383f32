"""Time of each kernel next to that of the same operator in ONNX Runtime's profile."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tvmkd import artifact as artifacts
from tvmkd.stacks.client import StackClient

HEAVY = ("conv2d", "depthwise", "dense")  # dense: also the product of a Winograd convolution
CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv", "Gemm", "MatMul", "FusedGemm")


def onnxruntime_profile(path: Path, threads: int, runs: int = 40) -> list[dict[str, Any]]:
    """Median time of each node in execution order: ``name``, ``op``, ``us``."""
    with tempfile.TemporaryDirectory() as folder:
        code = (
            "import sys, numpy, onnxruntime as ort\n"
            "options = ort.SessionOptions()\n"
            "options.intra_op_num_threads = int(sys.argv[2])\n"
            "options.enable_profiling = True\n"
            "options.profile_file_prefix = sys.argv[3]\n"
            "session = ort.InferenceSession(sys.argv[1], options)\n"
            "feed = {i.name: numpy.random.rand(*i.shape).astype('f4') for i in "
            "session.get_inputs()}\n"
            "for _ in range(int(sys.argv[4])): session.run(None, feed)\n"
            "session.end_profiling()\n"
        )
        prefix = os.path.join(folder, "ort")
        arguments = [str(path), str(threads), prefix, str(runs)]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        (profile,) = Path(folder).glob("ort*.json")
        events = json.loads(profile.read_text())
    times: dict[str, list[float]] = defaultdict(list)
    kinds = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            node = name.removesuffix("_kernel_time")
            times[node].append(event["dur"])
            kinds[node] = event["args"]["op_name"]
    return [
        {"name": node, "op": kinds[node], "us": statistics.median(found[len(found) // 4 :])}
        for node, found in times.items()
    ]


def table(path: Path, artifact: Path, threads: int, peak: float) -> list[dict[str, Any]]:
    """The artifact's kernels, slowest first, each with its ONNX Runtime time.

    Convolutions and matrix products are matched by their order in the graph, which both runtimes
    keep. Operators fused into them are included in both times. For a Winograd convolution the
    matrix product represents all three kernels. ``peer_us`` is None for other kernels.
    """
    with _threads(threads), StackClient(artifacts.read(artifact).stack) as stack:
        rows = stack.profile(artifact, repeats=40)
    matched = _match(onnx.load(str(path)), onnxruntime_profile(path, threads))
    heavy = [r for r in rows if r.get("kind") in HEAVY]
    places = sorted(place for row in heavy for place in row["places"])
    number = {place: index for index, place in enumerate(places)}
    for row in rows:
        row["peer_us"] = None
        if row in heavy and len(places) == len(matched):
            found = [matched[number[place]] for place in row["places"]]
            row["peer_us"] = sum(t for t in found if t is not None) if all(found) else None
        speed = row.get("gflops")
        row["of_peak"] = None if speed is None else speed / (peak * threads)
    return rows


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes that start in the block run TVM's kernels on ``count`` threads."""
    before = os.environ.get("TVM_NUM_THREADS")
    os.environ["TVM_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        os.environ.pop("TVM_NUM_THREADS")
        if before is not None:
            os.environ["TVM_NUM_THREADS"] = before


def _match(model: onnx.ModelProto, peers: list[dict[str, Any]]) -> list[float | None]:
    """ONNX Runtime's time of each convolution and matrix product, in graph order.

    ONNX Runtime names a fused node after its final output (``relu_3_nchwc``), so each node is
    searched under its name, the name of its output, and those of its consumers.
    """
    times = {row["name"].removesuffix("_nchwc"): row["us"] for row in peers}
    heavy = {row["name"].removesuffix("_nchwc") for row in peers if row["op"] in CONVOLUTIONS}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for value in node.input:
            readers[value].append(node)
    found: list[float | None] = []
    for node in model.graph.node:
        if node.op_type not in CONVOLUTIONS:
            continue
        names, front = [node.name], [node]
        for _ in range(6):  # the most elementwise operators that are fused into one kernel
            names += [value for each in front for value in each.output]
            front = [reader for each in front for out in each.output for reader in readers[out]]
            front = [reader for reader in front if reader.op_type not in CONVOLUTIONS]
        name = next((name for name in names if name in heavy), None)
        found.append(None if name is None else times[name])
        heavy.discard(name or "")
    return found


def show(rows: list[dict[str, Any]], most: int = 12) -> None:
    """Prints the first rows of `table`."""
    print(
        f"  {'kernel':44} {'calls':>5} {'us':>8} {'share':>6} {'of peak':>8} {'ONNX Runtime':>13}"
    )
    for row in rows[:most]:
        of_peak = "" if row["of_peak"] is None else f"{row['of_peak']:.0%}"
        peer = "" if row["peer_us"] is None else f"{row['peer_us']:.0f}"
        name = row["kernel"][:44]
        print(
            f"  {name:44} {row['calls']:5} {row['us']:8.0f} {row['share']:6.1%} "
            f"{of_peak:>8} {peer:>13}"
        )


def by_kind(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `table`, of any number of networks, added up by kind of kernel, slowest first.

    Each has ``kind``, ``kernels``, ``us``, ``share``, ``of_peak`` (None if a kernel's operations
    are unknown), and for those kernels whose operator was found in ONNX Runtime's profile ``us``
    (``matched_us``) and its time (``peer_us``).
    """
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        between = row["kernel"].startswith("(")
        kinds[row["kernel"] if between else row.get("kind") or "other kernels"].append(row)
    total = sum(row["us"] for row in rows)
    added = []
    for kind, found in kinds.items():
        us = sum(row["us"] for row in found)
        known = all(row["of_peak"] is not None for row in found)
        matched = [row for row in found if row["peer_us"] is not None]
        added.append(
            {
                "kind": kind,
                "kernels": len(found),
                "us": us,
                "share": us / total,
                "of_peak": sum(r["of_peak"] * r["us"] for r in found) / us if known else None,
                "matched_us": sum(row["us"] for row in matched) if matched else None,
                "peer_us": sum(row["peer_us"] for row in matched) if matched else None,
            }
        )
    return sorted(added, key=lambda row: -row["us"])


def show_kinds(rows: list[dict[str, Any]]) -> None:
    """Prints the rows of `by_kind`."""
    print(
        f"  {'kind':24} {'kernels':>7} {'us':>9} {'share':>6} {'of peak':>8} "
        f"{'matched us':>11} {'ONNX Runtime':>13}"
    )
    for row in rows:
        of_peak = "" if row["of_peak"] is None else f"{row['of_peak']:.0%}"
        matched, peer = (
            "" if row[key] is None else f"{row[key]:.0f}" for key in ("matched_us", "peer_us")
        )
        print(
            f"  {row['kind'][:24]:24} {row['kernels']:7} {row['us']:9.0f} {row['share']:6.1%} "
            f"{of_peak:>8} {matched:>11} {peer:>13}"
        )


def geometric_mean(values: list[float]) -> float:
    """The geometric mean."""
    return float(np.exp(np.mean(np.log(values))))
