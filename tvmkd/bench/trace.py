"""A profile in Chrome's trace format, which Perfetto (https://ui.perfetto.dev) opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvmkd.bench.kernel_profile import KernelProfile


def events(profile: KernelProfile, peers: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """One run of the artifact on a track, and ONNX Runtime's nodes, one after another, on another.

    Args:
        profile: the artifact's.
        peers: of `tvmkd.bench.node_times.measure`; it tells how long each node takes, not when it
            begins.
    """
    found = [_name(0, "TVM: one run"), _name(1, "ONNX Runtime: its nodes one after another")]
    for kernel in profile.kernels:
        for us, start in zip(kernel.each_us, kernel.starts_us, strict=True):
            found.append(
                {
                    "name": kernel.name,
                    "cat": kernel.kind or "kernel",
                    "ph": "X",
                    "ts": start,
                    "dur": us,
                    "pid": 0,
                    "tid": 0,
                    "args": {"nodes": ", ".join(kernel.nodes)},
                }
            )
    start = 0.0
    for peer in peers:
        found.append(
            {
                "name": peer["name"],
                "cat": peer["op"],
                "ph": "X",
                "ts": start,
                "dur": peer["us"],
                "pid": 0,
                "tid": 1,
            }
        )
        start += float(peer["us"])
    return {"traceEvents": found, "displayTimeUnit": "ms"}


def _name(track: int, name: str) -> dict[str, Any]:
    return {"name": "thread_name", "ph": "M", "pid": 0, "tid": track, "args": {"name": name}}
