"""Ranks the kernels of a GPU's artifact that nobody has run, by what the compilers say of them.

A kernel's share is that of its operations, each counted more where few warps can hide what memory
takes: below an occupancy of a half, in proportion (Volkov, 2016, "Understanding latency hiding on
GPUs"). It is a rank, no time: which kernels to look at and to tune first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

ENOUGH = 0.5
"""The occupancy beyond which more warps seldom help."""


@dataclass(frozen=True)
class Guess:
    """One kernel.

    Attributes:
        name: in the artifact.
        calls: in a run.
        share: of all kernels' operations, weighted by occupancy; 0 to 1.
        gflop: of a run: 10^9 operations.
        kind: of its task.
        tuned: whether a record chose its schedule.
        registers, spill_bytes: of a thread; shared_bytes: of a block; None if unknown.
        occupancy: None if unknown.
        nodes: the ONNX nodes that it computes; empty if unknown.
    """

    name: str
    calls: int
    share: float
    gflop: float
    kind: str = ""
    tuned: bool = False
    registers: int | None = None
    spill_bytes: int | None = None
    shared_bytes: int | None = None
    occupancy: float | None = None
    nodes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return asdict(self)


def rank(kernels: Mapping[str, Mapping[str, Any]]) -> list[Guess]:
    """The kernels, those first that are guessed to take the most.

    Args:
        kernels: the manifest's ``coverage.kernels``.
    """
    costs = {name: _cost(facts) for name, facts in kernels.items()}
    whole = sum(costs.values()) or 1.0
    found = [_guess(name, facts, costs[name] / whole) for name, facts in kernels.items()]
    return sorted(found, key=lambda each: -each.share)


def _cost(facts: Mapping[str, Any]) -> float:
    occupancy = (facts.get("ptxas") or {}).get("occupancy")
    use = 1.0 if occupancy is None else max(0.01, min(1.0, occupancy / ENOUGH))
    return float(facts.get("flop") or 0) * int(facts.get("calls", 1)) / use


def _guess(name: str, facts: Mapping[str, Any], share: float) -> Guess:
    ptxas = facts.get("ptxas") or {}
    calls = int(facts.get("calls", 1))
    return Guess(
        name,
        calls,
        share,
        float(facts.get("flop") or 0) * calls / 1e9,
        str(facts.get("kind") or ""),
        facts.get("measured_us") is not None,
        ptxas.get("registers"),
        ptxas.get("spill_bytes"),
        ptxas.get("shared_bytes"),
        ptxas.get("occupancy"),
        list(facts.get("nodes") or ()),
    )
