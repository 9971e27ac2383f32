"""A profile as one HTML page: where the time goes, and how near each kernel is to the limits."""

from __future__ import annotations

from pathlib import Path

from tvmkd.base.files import write_text
from tvmkd.bench.kernel_profile import Kernel, KernelProfile
from tvmkd.report import environment
from tvmkd.report.charts import WIDE, both
from tvmkd.report.svg import Canvas, Scale, number
from tvmkd.report.view import NOTHING, Cell, Note, Row, Section, Table, Tile
from tvmkd.stacks.relax.kernel_times import BETWEEN

SHOWN = 40
"""Kernels in the bars; the table has all of them."""


def write(path: Path, profile: KernelProfile) -> None:
    """Writes the page, in one step."""
    write_text(path, render(profile))


def render(profile: KernelProfile) -> str:
    """The page as text."""
    known = [kernel for kernel in profile.kernels if kernel.of_limit is not None]
    first = next((kernel for kernel in profile.kernels if kernel.name != BETWEEN), None)
    sections = [
        Section(
            "Kernels",
            "The time of one run by kernel. ONNX Runtime's time is that of the same ONNX nodes.",
            chart=both(lambda width: bars(profile, width)),
            tables=[table(profile)],
        )
    ]
    if known:
        sections.append(
            Section(
                "Roofline",
                "Each dot is a kernel: its operations for each byte of its arguments, and its "
                "speed. The line is what this machine can do at most, measured in the same run.",
                chart=both(lambda width: roofline(profile, width)),
            )
        )
    missing = sum(not kernel.nodes for kernel in profile.kernels if kernel.name != BETWEEN)
    notes = [Note(profile.warning)] if profile.warning else []
    if missing:
        text = f"{missing} kernels: their outputs are no tensors of the model, so that their ONNX "
        notes.append(Note(text + "nodes are not known"))
    name = Path(profile.model).name
    return environment.render(
        "report.html",
        title=f"Profile of {name}",
        emulated=False,
        eyebrow=[name, f"{profile.roofline.threads} threads"],
        headline=f"{name}: {profile.run_us / 1e3:.3g} ms"
        + ("" if first is None else f", most of it in {first.name} ({first.share:.0%})"),
        detail="",
        footer=f"artifact {profile.artifact}",
        tiles=[
            Tile(f"{profile.run_us / 1e3:.3g} ms", "a run of the artifact"),
            Tile(f"{profile.peer_us / 1e3:.3g} ms", "ONNX Runtime's nodes together"),
            Tile(f"{profile.roofline.gflops:.0f} GFLOP/s", "multiply-adds in registers"),
            Tile(f"{profile.roofline.gbps:.1f} GB/s", "reading memory"),
        ],
        notes=notes,
        sections=sections,
    )


def table(profile: KernelProfile) -> Table:
    """A row a kernel."""
    heads = ["Kernel", "Calls", "µs", "Share", "ONNX Runtime, µs", "GFLOP/s", "FLOP/byte"]
    rows = [
        Row(
            kernel.name,
            [
                Cell(str(kernel.calls)),
                Cell(f"{kernel.us:.1f}"),
                Cell(f"{kernel.share:.1%}"),
                _figure(kernel.peer_us, ".1f"),
                _figure(kernel.gflops, ".1f"),
                _figure(kernel.intensity, ".2f"),
                _figure(kernel.of_limit, ".0%"),
                Cell(_short(kernel.nodes), tip=", ".join(kernel.nodes)),
            ],
        )
        for kernel in profile.kernels
    ]
    return Table([*heads, "Of the limit", "ONNX nodes"], rows)


def _figure(value: float | None, form: str) -> Cell:
    return Cell() if value is None else Cell(format(value, form))


def _short(nodes: list[str], most: int = 2) -> str:
    more = f" and {len(nodes) - most} more" if len(nodes) > most else ""
    return ", ".join(nodes[:most]) + more or NOTHING


def bars(profile: KernelProfile, width: int) -> Canvas:
    """A bar a kernel: its time, and ONNX Runtime's below it."""
    shown = profile.kernels[:SHOWN]
    top, row = 18, 46
    bottom = top + row * len(shown)
    canvas = Canvas(
        width,
        bottom + 42,
        "Time by kernel",
        ", ".join(f"{kernel.name} {kernel.us:.0f} µs" for kernel in shown),
    )
    high = max(max(kernel.us, kernel.peer_us or 0.0) for kernel in shown) * 1.05 or 1.0
    scale = Scale(0, high, 0, width - 4)
    for tick in scale.ticks(8 if width == WIDE else 4):
        canvas.line(scale(tick), top - 6, scale(tick), bottom, "grid")
        canvas.text(scale(tick), bottom + 17, number(tick), "small", "middle")
    canvas.text(scale.end, bottom + 35, "µs a run", "small", "end")
    for place, kernel in enumerate(shown):
        y = top + row * place
        canvas.text(0, y + 8, kernel.name[: width // 8], "small")
        tip = f"{kernel.name}: {kernel.us:.1f} µs, {kernel.share:.1%}"
        canvas.rect(0, y + 13, scale(kernel.us), 12, "fill-first", tip)
        if kernel.peer_us is not None:
            canvas.rect(
                0, y + 26, scale(kernel.peer_us), 7, "fill-other",
                f"ONNX Runtime: {kernel.peer_us:.1f} µs",
            )  # fmt: skip
    return canvas


def roofline(profile: KernelProfile, width: int) -> Canvas:
    """Speed over intensity, both logarithmic, below the machine's two limits."""
    dots: list[tuple[Kernel, float, float]] = [
        (kernel, kernel.intensity, kernel.gflops)
        for kernel in profile.kernels
        if kernel.intensity and kernel.gflops
    ]
    limits = profile.roofline
    knee = limits.gflops / limits.gbps
    left, right, top, bottom = 52, width - 12, 18, 320
    x = Scale(
        min([knee, *(at for _, at, _ in dots)]) / 2,
        max([knee, *(at for _, at, _ in dots)]) * 2,
        left,
        right,
        log=True,
    )
    y = Scale(
        min([limits.gflops, *(speed for _, _, speed in dots)]) / 2,
        limits.gflops * 1.5,
        bottom,
        top,
        log=True,
    )
    canvas = Canvas(
        width,
        bottom + 42,
        "Roofline",
        ", ".join(f"{k.name} {s:.1f} GFLOP/s at {at:.2f} FLOP/byte" for k, at, s in dots),
    )
    for tick in x.ticks(8 if width == WIDE else 4):
        canvas.line(x(tick), top, x(tick), bottom, "grid")
        canvas.text(x(tick), bottom + 17, number(tick), "small", "middle")
    for tick in y.ticks(6):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 6, y(tick) + 4, number(tick), "small", "end")
    canvas.text(right, bottom + 35, "operations a byte", "small", "end")
    canvas.text(left, top - 5, "GFLOP/s", "small")
    slope = [(x(at), y(limits.limit(at))) for at in (x.low, knee, x.high)]
    canvas.path(slope, "curve")
    for kernel, at, speed in dots:
        radius = 3 + 9 * kernel.share**0.5
        tip = f"{kernel.name}: {speed:.1f} GFLOP/s, {at:.2f} FLOP/byte, {kernel.share:.1%}"
        canvas.circle(x(at), y(speed), round(radius, 1), "fill-other dot", tip)
    return canvas
