"""How a comparison is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class CompareOptions:
    """The method of a comparison, the same for all of its engines.

    Attributes:
        threads: of each engine. None: one for each available CPU.
        seconds: measuring time of each engine, without warm-up.
        rounds: turns of each engine; made even, since every other round runs in reverse order.
        builds: how often each engine that chooses tactics by measuring is built (``built_here`` of
            its class, or its option ``rebuild``). Each build is timed in a process of its own for
            its share of ``seconds``, and what the builds differ by widens the engine's interval.
            With one, an engine may come from the cache.
        cuda_graph: use CUDA graphs for all engines on a GPU, or for none. None: as the engines' own
            options say.
        budget_ms: time that the model may take; goes into the result.
        reference: FP32 ONNX file whose outputs count as correct. None: the model itself.
        dims: sizes of the model's dynamic dimensions, by name.
        seed: of the random inputs.
        tolerance: largest error allowed, a share of the output's largest magnitude. None: that of
            the engine's precision.
        warmup_limit: seconds after which an engine that has not settled is timed all the same, with
            a warning.
        prepare_timeout: seconds that an engine may take to load or compile.
    """

    threads: int | None = None
    seconds: float = 5.0
    rounds: int = 10
    builds: int = 1
    cuda_graph: bool | None = None
    budget_ms: float | None = None
    reference: Path | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    tolerance: float | None = None
    warmup_limit: float = 10.0
    prepare_timeout: float = 600.0
