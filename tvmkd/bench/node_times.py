"""ONNX Runtime's own profile of a model, node by node, from a process of its own."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import wire

_SUFFIX = "_kernel_time"


def measure(
    onnx: Path, sample: Mapping[str, np.ndarray], threads: int, runs: int = 30
) -> list[dict[str, Any]]:
    """The median time of each node that ONNX Runtime executes, in their order.

    Args:
        onnx: the file.
        sample: an array for each input.
        threads: of each operator.
        runs: how many; the first quarter warms up.

    Returns:
        ``name`` (ONNX Runtime names a node that it made of others after one of them, or after its
        output), ``op`` and ``us``.
    """
    with tempfile.TemporaryDirectory(prefix="tvmkd-") as folder:
        np.savez(Path(folder) / "sample.npz", **sample)  # type: ignore[arg-type]
        params = {"onnx": str(onnx), "folder": folder, "threads": threads, "runs": runs}
        with wire.Child([sys.executable, "-m", "tvmkd.bench.node_times"]) as child:
            child.call("run", params, timeout=600)
        (profile,) = Path(folder).glob("profile*.json")
        return rows(json.loads(profile.read_text(encoding="utf-8")))


def rows(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table of `measure` from the events of ONNX Runtime's profile."""
    times: dict[str, list[float]] = defaultdict(list)
    kinds: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            node = name.removesuffix(_SUFFIX)
            times[node].append(float(event["dur"]))
            kinds[node] = str(event["args"].get("op_name", ""))
    return [
        {"name": name, "op": kinds[name], "us": statistics.median(found[len(found) // 4 :])}
        for name, found in times.items()
    ]


def _run(params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
    from tvmkd.base.onnx_runtime import CPU, FATAL, package

    onnxruntime = package()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = params["threads"]
    options.log_severity_level = FATAL
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(params["folder"]) / "profile")
    session = onnxruntime.InferenceSession(params["onnx"], options, providers=[CPU])
    with np.load(Path(params["folder"]) / "sample.npz") as stored:
        feed = {name: stored[name] for name in stored.files}
    for _ in range(params["runs"]):
        session.run(None, feed)
    session.end_profiling()
    return {}


if __name__ == "__main__":
    wire.serve({"run": _run})
