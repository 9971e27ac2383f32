"""What a latency predictor is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tvmkd.search.latency.drift import Slowdown

if TYPE_CHECKING:
    from torch import nn

Source = Literal["measured", "interpolated"]


@dataclass(frozen=True)
class Kernel:
    """A distinct kernel of a lowered network.

    Attributes:
        key: its task key, TVM's structural hash in hex.
        name: a readable name; differs between networks that share the kernel.
        kind: ``conv2d``, ``depthwise``, ``dense``...
        calls: how often one run of the network calls it.
        flop: floating point operations of one call.
        features: numbers that describe it without a schedule, for interpolation.
    """

    key: str
    name: str
    kind: str
    calls: int
    flop: float
    features: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class KernelTime:
    """The time of one call of a kernel.

    Attributes:
        kernel: which.
        seconds: of one call; on emulated boards that count, instructions × 1e-9.
        source: whether it was measured on the target or interpolated by the learned model.
        error: standard error of the natural logarithm of ``seconds``, as a fraction (0.1: 10 %).
    """

    kernel: Kernel
    seconds: float
    source: Source
    error: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """A network's predicted time.

    Attributes:
        seconds: of one run, batch 1.
        low, high: the interval that holds 90 % of measured times, seconds.
        kernels: the parts that add up to it, slowest first.
        fixed: the cost of a call that is in no kernel, seconds.
    """

    seconds: float
    low: float
    high: float
    kernels: Sequence[KernelTime] = ()
    fixed: float = 0.0

    @property
    def interpolated(self) -> float:
        """The share (0 to 1) of the time that is in kernels which nobody has measured."""
        parts = [(each.seconds * each.kernel.calls, each.source) for each in self.kernels]
        whole = sum(seconds for seconds, _ in parts) or 1.0
        return sum(seconds for seconds, source in parts if source == "interpolated") / whole


@dataclass(frozen=True)
class Measured:
    """A network that was built and timed.

    Attributes:
        seconds: the median run, with the machine's lasting drift taken out.
        spread: (Q3 - Q1) / median of the rounds.
        drift: what the machine was slower by, as the fixed network beside it says.
        fixed: seconds that the fixed network took; 0 where nothing drifts.
        board: ``HOST:PORT`` of the board; None: this machine.
        board_seconds: how long the board was busy.
    """

    seconds: float
    spread: float
    drift: Slowdown = field(default_factory=Slowdown)
    fixed: float = 0.0
    board: str | None = None
    board_seconds: float = 0.0


class Latency(Protocol):
    """A latency predictor: `tvmkd.search.latency.table.LatencyTable`, or MACs where there is none.

    ``unit`` is ``"s"``, ``"instructions"`` (emulated boards) or ``"MACs"``. A "second" of the last
    two is 1e9 of them.
    """

    unit: str

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        """The kernels that a network becomes on the target.

        Args:
            model: a network whose weights do not matter, or an ONNX file.
            shape: of the network's input, batch first; not for a file.

        Raises:
            InputError: the network cannot be exported or compiled.
        """

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """The time of a network with these kernels."""

    def predict_model(
        self, model: nn.Module | Path, shape: Sequence[int] | None = None
    ) -> Prediction:
        """`predict` of `kernels`."""

    def measure(self, onnx: Path) -> Measured:
        """Builds a network for the target, with the table's records, and times it there.

        Raises:
            MissingError: no board answers.
        """

    def describe(self) -> dict[str, Any]:
        """JSON-safe facts for reports: where the times come from, and how good predictions are."""


def figure(seconds: float, unit: str) -> str:
    """A time as people read it: ``4.21 ms``, ``35.2 us``; ``12.3 M instructions``."""
    if unit != "s":
        return f"{_digits(seconds * 1e3)} M {unit}"
    number, name = seconds * 1e6, "us"
    for larger in ("ms", "s"):
        if abs(number) >= 999.5:
            number, name = number / 1e3, larger
    return f"{_digits(number)} {name}"


def _digits(number: float) -> str:
    """Three significant digits, and never an exponent for large numbers."""
    return f"{number:.0f}" if abs(number) >= 99.95 else f"{number:.3g}"
