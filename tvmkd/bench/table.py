"""The comparison in a terminal, and a progress bar that is idle while an engine is timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tvmkd.base.console import console, warn
from tvmkd.bench.schema import Comparison, Engine

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tvmkd.bench.session import Progress


def show(comparison: Comparison, to: Console | None = None) -> None:
    """Prints the table, the engines left out, the warnings and the verdict."""
    to = to or console()
    if comparison.engines:
        to.print(table(comparison))
        to.print(costs(comparison))
    for engine in comparison.engines:
        if len(engine.builds) > 1:
            to.print(builds(engine), markup=False)
    for item in comparison.left_out:
        to.print(f"{item.name} was left out ({item.why}): {item.reason}", markup=False)
    for warning in comparison.warnings:
        to.print("[yellow]note:[/yellow] ", end="")
        to.print(warning, markup=False)
    to.print(comparison.verdict.sentence, markup=False, style="bold")


def table(comparison: Comparison) -> Table:
    """Engines from fastest to slowest, times in ms."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    method = comparison.method
    unit = milliseconds_unit(comparison)
    caption = f"{unit} for one call, numpy in and out; median with its 95% interval"
    if comparison.budget is not None and any(
        engine.p99 > comparison.budget.model_ms for engine in comparison.engines
    ):
        caption += f"\n! p99 over the budget of {comparison.budget.model_ms:g} ms"
    result = Table(
        title=f"{machine(comparison)}, {threads(method.threads)}",
        caption=caption,
        box=SIMPLE_HEAD,
    )
    result.add_column("engine", style="bold", no_wrap=True)
    for name in ("median", "±", "p90", "p99", "× fastest", "size", "error"):
        result.add_column(name, justify="right", no_wrap=True)
    ordered = sorted(comparison.engines, key=lambda engine: engine.p50)
    ratios = {pair.name: pair for pair in comparison.verdict.pairs}
    for engine in ordered:
        over = comparison.budget is not None and engine.p99 > comparison.budget.model_ms
        pair = ratios.get(engine.name)
        against = "1" if pair is None else f"{pair.ratio:.2f}"
        if pair is not None and not pair.decided:
            against += " level"
        result.add_row(
            engine.name,
            milliseconds(engine.p50),
            milliseconds(half_width(engine)),
            milliseconds(engine.p90),
            milliseconds(engine.p99) + (" !" if over else ""),
            against,
            size(engine.size_bytes),
            f"{engine.max_abs_error:.0e}",
            style="red" if over else None,
        )
    return result


def costs(comparison: Comparison) -> Table:
    """Each engine's error, times to load, build and tune, and memory."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(
        caption="off, allowed: largest error, of an output's range; load: to open or compile\n"
        "build, tuning: whenever that was; memory: at most; GPU: held",
        box=SIMPLE_HEAD,
    )
    result.add_column("engine", style="bold", no_wrap=True)
    for name in ("off", "allowed", "load", "build", "tuning", "memory", "GPU"):
        result.add_column(name, justify="right", no_wrap=True)
    for engine in sorted(comparison.engines, key=lambda engine: engine.p50):
        result.add_row(
            engine.name,
            f"{engine.relative_error:.1e}",
            "–" if engine.tolerance is None else f"{engine.tolerance:.3g}",
            *map(seconds, (engine.build_seconds, engine.engine_seconds, engine.tuning_seconds)),
            size(engine.memory()),
            size(engine.gpu_memory_bytes),
        )
    return result


def builds(engine: Engine) -> str:
    """The spread of an engine's builds, next to the interval of a single build."""
    medians = [build.p50 for build in engine.builds]
    apart = max(medians) / min(medians) - 1
    known = max((build.ci95[1] - build.ci95[0]) / 2 / build.p50 for build in engine.builds)
    return (
        f"{engine.name}: {len(medians)} builds, medians {milliseconds(min(medians))} to "
        f"{milliseconds(max(medians))} ms, {apart:.1%} apart; within one build the median is known "
        f"to ± {known:.1%}"
    )


def machine(comparison: Comparison) -> str:
    """The machine, the state of its clocks if known, and the use of CUDA graphs."""
    where = comparison.context
    gpu = [] if where.gpu is None or where.gpu.name is None else [where.gpu.name]
    state = {None: "", True: ", clocks locked", False: ", clocks unlocked"}[where.clocks_locked]
    graph = ""
    if any(engine.device == "GPU" for engine in comparison.engines):
        graph = ", CUDA graph" if comparison.method.cuda_graph else ", no CUDA graph"
    return " and ".join([where.cpu, *gpu]) + state + graph


@contextmanager
def following() -> Iterator[Progress]:
    """A callback for `compare` that draws a progress bar.

    The bar is redrawn only when the callback is called, which is never while an engine is timed:
    an animation would take the CPU from it.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console(),
        auto_refresh=False,
        transient=True,
    )
    with bar:
        task = bar.add_task("compare", total=None)

        def tell(event: str, data: dict[str, Any]) -> None:
            if event == "check":
                bar.update(task, description=f"checking {data['engine']}")
            elif event == "warm":
                bar.update(task, description=f"warming up {data['engine']}")
            elif event == "round":
                text = f"timing {', '.join(data['engines'])} in turns"
                bar.update(task, description=text, total=data["rounds"], completed=data["round"])
            elif event == "left_out":
                warn(f"{data['engine']} is left out: {data['reason']}")
            bar.refresh()

        yield tell


def threads(count: int) -> str:
    """``1 thread`` or ``N threads``."""
    return "1 thread" if count == 1 else f"{count} threads"


def half_width(engine: Engine) -> float:
    """Half the width of the median's interval, in ms."""
    return (engine.ci95[1] - engine.ci95[0]) / 2


def milliseconds_unit(comparison: Comparison) -> str:
    """The unit of a comparison's times; it marks emulated times."""
    return "ms (emulated)" if comparison.context.emulated else "ms"


def milliseconds(value: float) -> str:
    """About three significant digits, without exponent."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """Two significant digits, with a suitable unit."""
    if value is None:
        return "–"
    if value >= 5400:
        return f"{value / 3600:.1f} h"
    return f"{value / 60:.0f} min" if value >= 300 else f"{float(f'{value:.2g}'):g} s"


def size(value: int | None) -> str:
    """A size with a suitable unit."""
    if value is None:
        return "–"
    if value >= 1e6:
        return f"{value / 1e6:.1f} MB"
    return f"{value / 1e3:.0f} kB"
