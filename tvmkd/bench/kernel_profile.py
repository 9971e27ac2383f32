"""A profile of an artifact: its kernels, their ONNX nodes, the roofline and ONNX Runtime's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.bench.roofline import Roofline
from tvmkd.stacks.relax.kernel_times import BETWEEN

_MADE = ("_nchwc", "_nhwc", "_fused")  # what ONNX Runtime adds to the name of a node it makes


@dataclass(frozen=True)
class Kernel:
    """One kernel.

    Attributes:
        name: in the library.
        calls: a run.
        us: its time a run, all calls together.
        share: of the run.
        nodes: the ONNX nodes that it computes, in the order of its calls; empty if unknown.
        kind: of its task; empty for a kernel that is no task.
        gflops: its speed; None if its operations are not counted.
        intensity: operations for each byte of its arguments; None if either is unknown.
        of_limit: its speed as a share of what the roofline allows at this intensity.
        peer_us: ONNX Runtime's time of the same nodes; None if it cannot be told apart.
        each_us, starts_us: the time of each call, and when it begins.
    """

    name: str
    calls: int
    us: float
    share: float
    nodes: list[str] = field(default_factory=list)
    kind: str = ""
    gflops: float | None = None
    intensity: float | None = None
    of_limit: float | None = None
    peer_us: float | None = None
    each_us: list[float] = field(default_factory=list)
    starts_us: list[float] = field(default_factory=list)


MOST_BETWEEN = 0.15
"""Share of a run outside the kernels up to which it is the virtual machine's, on an idle CPU."""


@dataclass(frozen=True)
class KernelProfile:
    """A profile.

    Attributes:
        model, artifact: the paths.
        kernels: the slowest first; the one called ``(between kernels)`` is the rest of a run.
        run_us: the median run without the timer.
        peer_us: ONNX Runtime's time of all its nodes.
        peer_other_us: of those that belong to no kernel, changes of layout among them.
        roofline: this machine's limits.
    """

    model: str
    artifact: str
    kernels: list[Kernel]
    run_us: float
    peer_us: float
    peer_other_us: float
    roofline: Roofline

    @property
    def warning(self) -> str:
        """What makes the figures doubtful, for people; else empty."""
        between = sum(kernel.us for kernel in self.kernels if kernel.name == BETWEEN)
        if between <= MOST_BETWEEN * self.run_us:
            return ""
        return (
            f"{between / self.run_us:.0%} of a run lie between kernels: other processes use the "
            "CPUs; profile again when they do not"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return asdict(self)


def profile(
    onnx: Path,
    artifact: Path,
    rows: Sequence[Mapping[str, Any]],
    peers: Sequence[Mapping[str, Any]],
    outputs: Mapping[str, Sequence[str]],
    roofline: Roofline,
) -> KernelProfile:
    """Puts the measurements together.

    Args:
        onnx, artifact: the paths.
        rows: of `tvmkd.stacks.client.StackClient.profile`.
        peers: of `tvmkd.bench.node_times.measure`.
        outputs: the names of the tensors that each ONNX node writes, by its name.
        roofline: of as many threads as the artifact runs.
    """
    times, other = attributed(peers, outputs)
    owners = _owners(rows)
    kernels = [_kernel(row, times, owners, roofline) for row in rows]
    claimed = {node for row in rows for node in _nodes(row)}
    left = sum(us for node, us in times.items() if node not in claimed)
    between = next((row for row in rows if row["kernel"] == BETWEEN), {})
    return KernelProfile(
        str(onnx),
        str(artifact),
        kernels,
        float(between.get("run_us", sum(kernel.us for kernel in kernels))),
        sum(float(peer["us"]) for peer in peers),
        other + left,
        roofline,
    )


def attributed(
    peers: Sequence[Mapping[str, Any]], outputs: Mapping[str, Sequence[str]]
) -> tuple[dict[str, float], float]:
    """ONNX Runtime's times by ONNX node, and the time of nodes that are none of the model's."""
    owner = {tensor: node for node, tensors in outputs.items() for tensor in tensors}
    owner.update({node: node for node in outputs})
    times: dict[str, float] = {}
    other = 0.0
    for peer in peers:
        node = owner.get(_plain(str(peer["name"]), owner))
        if node is None:
            other += float(peer["us"])
        else:
            times[node] = times.get(node, 0.0) + float(peer["us"])
    return times, other


def _plain(name: str, known: Mapping[str, str]) -> str:
    """A name without what ONNX Runtime adds to it."""
    while name not in known and name.endswith(_MADE):
        name = name.rpartition("_")[0]
    return name


def _nodes(row: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(node for nodes in row.get("each_nodes", ()) for node in nodes))


def _owners(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many kernels compute parts of each node."""
    count: dict[str, int] = {}
    for row in rows:
        for node in _nodes(row):
            count[node] = count.get(node, 0) + 1
    return count


def _kernel(
    row: Mapping[str, Any],
    times: Mapping[str, float],
    owners: Mapping[str, int],
    roofline: Roofline,
) -> Kernel:
    nodes = _nodes(row)
    flop, size, speed = row.get("flop"), row.get("bytes"), row.get("gflops")
    intensity = float(flop) / float(size) if flop and size else None
    peers = [times[node] for node in nodes if node in times]
    # The time of a node that several kernels compute together cannot be divided among them.
    whole = bool(peers) and all(owners[node] == 1 for node in nodes)
    return Kernel(
        str(row["kernel"]),
        int(row["calls"]),
        float(row["us"]),
        float(row["share"]),
        nodes,
        str(row.get("kind") or ""),
        None if not speed else float(speed),
        intensity,
        float(speed) / roofline.limit(intensity) if speed and intensity else None,
        sum(peers) if whole else None,
        [float(us) for us in row.get("each_us", ())],
        [float(us) for us in row.get("starts_us", ())],
    )
