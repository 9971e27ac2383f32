"""The options of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class CompareOptions:
    """The method of a comparison, the same for all engines.

    Attributes:
        threads: threads of each engine. None: one per available CPU.
        seconds: measuring time of each engine, without warm-up.
        rounds: turns of each engine; rounded up to an even number, since every other round runs in
            reverse order.
        processes: how often each engine is started, in an environment of another size each time:
            what differs from process to process is then in the intervals. ``seconds`` and
            ``rounds`` are shared by its processes. None: at least 3 and at most 10, as many as take
            as long to start as all measuring. One where engines run on a board, or where ``builds``
            are asked for.
        builds: how often each engine that chooses tactics by measuring is built (``built_here`` of
            its class, or its option ``rebuild``). Each build is timed in its own process for its
            share of ``seconds``, and differences between builds widen the engine's interval. With
            one build, the engine may come from the cache.
        cuda_graph: use CUDA graphs for all engines on a GPU, or for none. None: according to the
            engines' options.
        budget_ms: time budget of the model, ms; written to the result.
        reference: FP32 ONNX file whose outputs count as correct. None: the model itself.
        dims: sizes of the model's dynamic dimensions, by name.
        seed: seed of the random inputs.
        tolerance: largest error allowed, relative to the output's largest magnitude. None: the
            tolerance of the engine's precision.
        warmup_limit: seconds after which an engine is timed even if its times are not stable; this
            adds a warning. None: twice ``seconds``, at least 1 and at most 10.
        prepare_timeout: seconds that an engine may take to load or compile.
        all_or_none: an engine that cannot be loaded ends the comparison, instead of being left out.
    """

    threads: int | None = None
    seconds: float = 5.0
    rounds: int = 10
    processes: int | None = None
    builds: int = 1
    cuda_graph: bool | None = None
    budget_ms: float | None = None
    reference: Path | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    tolerance: float | None = None
    warmup_limit: float | None = None
    prepare_timeout: float = 600.0
    all_or_none: bool = False

    @property
    def warmup_seconds(self) -> float:
        """The limit of the warm-up, in seconds."""
        if self.warmup_limit is not None:
            return self.warmup_limit
        return min(10.0, max(1.0, 2 * self.seconds))
