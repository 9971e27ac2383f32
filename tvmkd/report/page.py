"""The report's sections as HTML text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tvmkd.bench.schema import Comparison, Engine, Gpu
from tvmkd.bench.table import (
    builds,
    half_width,
    machine,
    milliseconds,
    milliseconds_unit,
    seconds,
    size,
    threads,
)
from tvmkd.report import charts
from tvmkd.report.records import History

KERNELS_SHOWN = 14
TASKS_SHOWN = 14
COLUMNS = (
    *("engine", "median", "95% CI", "p90", "p95", "p99", "× fastest"),
    *("size", "memory", "GPU memory", "load", "build", "tuning", "max error", "off", "allowed"),
)


def header(comparison: Comparison) -> str:
    """What was compared, and the verdict."""
    method, context = comparison.method, comparison.context
    headline, _, detail = comparison.verdict.sentence.partition(": ")
    detail = f'<p class="because">{escape(detail)}</p>' if detail else ""
    mark = '<span class="pill bad">emulated</span>' if context.emulated else ""
    return (
        f'<header><p class="eyebrow">{mark}{escape(_model_name(comparison))} · '
        f"{escape(machine(comparison))} · {threads(method.threads)}</p>"
        f"<h1>{escape(headline)}</h1>{detail}</header>"
    )


def tiles(
    comparison: Comparison,
    best_accuracy: tuple[str, float] | None,
    metric: str = "accuracy",
) -> str:
    """The figures a person looks for first."""
    if not comparison.engines:
        return ""
    fastest = comparison.engine(comparison.verdict.fastest or "") or comparison.engines[0]
    unit = milliseconds_unit(comparison)
    found = [
        ("", f"{milliseconds(fastest.p50)} {unit}", f"median of {fastest.name}, the fastest"),
        ("", f"{milliseconds(fastest.p99)} {unit}", f"p99 of {len(fastest.samples_ms)} calls"),
    ]
    if comparison.budget is not None:
        share = fastest.p99 / comparison.budget.model_ms
        found.append(
            (
                "good" if share <= 1 else "bad",
                f"{share:.0%}" if share >= 0.01 else "under 1%",
                f"of the {comparison.budget.model_ms:g} ms budget at p99",
            )
        )
    if best_accuracy is not None:
        found.append(("", f"{best_accuracy[1]:.1%}", f"{metric} of {best_accuracy[0]}"))
    if fastest.size_bytes is not None:
        found.append(("", size(fastest.size_bytes), f"to ship for {fastest.name}"))
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile {css}"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
            for css, value, what in found
        )
        + "</div>"
    )


def engines(comparison: Comparison) -> str:
    """The bars and the table."""
    if not comparison.engines:
        return ""
    limit = comparison.budget
    title = "Time for one call" if limit is None else "Time for one call, against the budget"
    return section(
        title,
        "Solid to the median, pale to p99. A bar that is cut ends off the scale; "
        "its figures stand beside it.",
        charts.both(lambda width: charts.budget(comparison, width)) + _table(comparison),
    )


def _table(comparison: Comparison) -> str:
    ratios = {pair.name: pair for pair in comparison.verdict.pairs}
    rows = []
    for engine in sorted(comparison.engines, key=lambda engine: engine.p50):
        pair = ratios.get(engine.name)
        against = "1" if pair is None else f"{pair.ratio:.2f}"
        if pair is not None:
            interval = f"{pair.ci95[0]:.2f} to {pair.ci95[1]:.2f}"
            against = f'<span title="95% CI {interval}">{against}</span>'
            if not pair.decided:
                against = f'<span class="pill good">level</span>{against}'
        css = ' class="first"' if engine.name == comparison.verdict.fastest else ""
        cells = [
            milliseconds(engine.p50),
            f"± {milliseconds(half_width(engine))}",
            milliseconds(engine.p90),
            milliseconds(engine.p95),
            _over(engine, comparison) + milliseconds(engine.p99),
            against,
            size(engine.size_bytes),
            _memory(engine),
            size(engine.gpu_memory_bytes),
            *map(seconds, (engine.build_seconds, engine.engine_seconds, engine.tuning_seconds)),
            f"{engine.max_abs_error:.1e}",
            f"{engine.relative_error:.1e}",
            "–" if engine.tolerance is None else f"{engine.tolerance:.3g}",
        ]
        rows.append(
            f'<tr{css}><th scope="row">{_breakable(engine.name)}</th>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    return _grid(
        COLUMNS,
        rows,
        f"Times in {milliseconds_unit(comparison)}. Memory is the process's peak, GPU memory what "
        "the engine holds; load is opening or compiling; build and tuning are what the engine or "
        "the artifact took, whenever that was; the error is against ONNX Runtime in FP32, and as a "
        "share of the output's range, beside the share that is allowed.",
    )


def _over(engine: Engine, comparison: Comparison) -> str:
    if comparison.budget is None or engine.p99 <= comparison.budget.model_ms:
        return ""
    return '<span class="pill bad">over</span>'


def _memory(engine: Engine) -> str:
    peak = engine.memory()
    return "–" if peak is None else f"{peak / 1e6:.0f} MB"


def distribution(comparison: Comparison) -> str:
    """How the calls spread."""
    if not comparison.engines:
        return ""
    return section(
        "How steady each engine is",
        "Every call that was timed. The solid mark is the median, the dotted one p99; a narrow "
        "hill is a latency that can be relied on.",
        charts.both(lambda width: charts.distribution(comparison, width)),
    )


def accuracy(
    points: Sequence[Mapping[str, Any]], comparison: Comparison, metric: str = "accuracy"
) -> str:
    """Accuracy against latency."""
    known = [
        (str(p["name"]), float(p["accuracy"]), float(p["latency_ms"]))
        for p in points
        if p.get("latency_ms")
    ]
    if not known:
        return ""
    budget_ms = None if comparison.budget is None else comparison.budget.model_ms
    title = f"{metric if metric == 'mAP' else metric.capitalize()} against latency"
    return section(
        title,
        "Higher and further left is better. Coloured points are the ones that no other beats in "
        "both.",
        charts.both(lambda width: charts.accuracy(known, budget_ms, width, title)),
    )


def tuning(history: History) -> str:
    """The tuning curve and what each task gained."""
    rows = []
    for task in history.tasks[:TASKS_SHOWN]:
        first, best = task.first_us, task.best_us
        cells = [
            str(task.weight),
            str(task.trials),
            str(task.failed),
            "–" if first is None else f"{first:.4g}",
            "–" if best is None else f"{best:.4g}",
            "–" if first is None or not best else f"{first / best:.1f}×",
        ]
        rows.append(
            f'<tr><th scope="row">{_breakable(task.name)}</th>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    more = len(history.tasks) - TASKS_SHOWN
    caption = "Tasks by their share of the time, µs of one call."
    if more > 0:
        caption += f" {more} smaller ones are not listed."
    heads = ["task", "uses", "trials", "failed", "first", "best", "gain"]
    body = ""
    if len(history.curve) > 1:
        body = charts.both(lambda width: charts.tuning(history.curve, width))
    return section(
        "Tuning",
        f"{history.trials} trials. The model's time as the sum of its tuned kernels' best times, "
        "from the trial at which each of them had one.",
        body + _grid(heads, rows, caption),
    )


def kernels(profile: Sequence[Mapping[str, Any]]) -> str:
    """Where the time goes."""
    ordered = sorted(profile, key=lambda item: -float(item["us"]))
    total = sum(float(item["us"]) for item in ordered)
    if not total:
        return ""
    rows, shown = (
        [],
        [
            (str(item["kernel"]), str(item.get("calls", "")), float(item["us"]))
            for item in ordered[:KERNELS_SHOWN]
        ],
    )
    rest = ordered[KERNELS_SHOWN:]
    if rest:
        count = sum(int(item.get("calls") or 0) for item in rest)
        us = sum(float(item["us"]) for item in rest)
        shown.append((f"{len(rest)} smaller ones", str(count), us))
    longest = max(us for _, _, us in shown)
    for name, calls, us in shown:
        rows.append(
            f'<tr><th scope="row">{_breakable(name)}</th><td>{calls}</td><td>{us:.4g}</td>'
            f'<td>{us / total:.1%}</td><td class="barcell">'
            f'<span class="bar" style="width:{us / longest:.1%}"></span></td></tr>'
        )
    return section(
        "Where the time goes",
        f"{len(ordered)} kernels, {total / 1e3:.3g} ms in all when each is timed on its own.",
        _grid(["kernel", "calls", "µs", "share", ""], rows, ""),
    )


def notes(comparison: Comparison) -> str:
    """What a reader must know before trusting the figures, and what has none."""
    lines = [
        f"<li><b>{escape(item.name)}</b> was left out ({escape(item.why)}): "
        f"{escape(item.reason)}</li>"
        for item in comparison.left_out
    ] + [f"<li>{escape(text)}</li>" for text in comparison.warnings]
    several = [engine for engine in comparison.engines if len(engine.builds) > 1]
    lines += [f"<li>{escape(builds(engine))}</li>" for engine in several]
    if not lines:
        return ""
    body = f"<ul>{''.join(lines)}</ul>"
    return f'<section class="notes"><h2>Before you rely on this</h2>{body}</section>'


def method(comparison: Comparison, metadata: Mapping[str, str]) -> str:
    """How it was measured, on what."""
    how, context, model = comparison.method, comparison.context, comparison.model
    shapes = ", ".join(
        f"{tensor.name} {' × '.join(map(str, tensor.shape))} {tensor.dtype}"
        for tensor in model.inputs
    )
    pairs = {
        "Model": f"{_model_name(comparison)}, SHA-256 {model.sha256[:16]}…",
        "Input": shapes,
        **{str(key): str(value) for key, value in metadata.items()},
        "One call is": how.measured,
        "Threads": f"{how.threads} for every engine, pinned to CPU "
        + ", ".join(map(str, how.pinned_cpus)),
        "Order": f"{how.rounds} rounds, {how.order}; {how.seconds:g} s an engine, after a warm-up "
        "until stable",
        "Idle engines": how.idle,
        "Outputs": f"checked on {how.samples_checked} inputs against {how.reference}",
        "Builds": f"{how.builds} of each engine that chooses tactics when it is built"
        if how.builds > 1
        else "",
        "CUDA graph": {None: "", True: "for all engines on the GPU", False: "for none"}[
            how.cuda_graph
        ],
        "Machine": _machine(comparison),
        "GPU": _gpu(comparison.context.gpu),
        "Versions": ", ".join(f"{name} {version}" for name, version in context.versions.items()),
        "Measured": f"{comparison.created} by {comparison.tool}",
    }
    rows = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in pairs.items() if value
    )
    return section("How this was measured", "", f"<dl>{rows}</dl>")


def _machine(comparison: Comparison) -> str:
    context = comparison.context
    facts = [f"{context.cpu} ({context.machine}, {context.cpus} CPUs)", context.system]
    facts.append(f"governor {context.governor or 'not visible'}")
    if context.turbo is not None:
        facts.append("turbo on" if context.turbo else "turbo off")
    for values, unit in ((context.temperature_c, "°C"), (context.mhz, "MHz")):
        if None not in values:
            facts.append(f"{values[0]:.0f} to {values[1]:.0f} {unit}")
    facts.append(f"load {context.load_1min[0]:g} before, {context.load_1min[1]:g} after")
    return ", ".join(facts)


def _gpu(gpu: Gpu | None) -> str:
    """What nvidia-smi said, before and after."""
    if gpu is None:
        return ""
    facts = [
        f"{gpu.name}, driver {gpu.driver}",
        "clocks " + ("" if gpu.locked else "un") + "locked",
    ]
    for values, most, unit in (
        (gpu.sm_mhz, gpu.max_sm_mhz, "MHz (SM)"),
        (gpu.memory_mhz, None, "MHz (memory)"),
        (gpu.temperature_c, None, "°C"),
        (gpu.power_w, gpu.power_limit_w, "W"),
    ):
        known = [value for value in values if value is not None]
        if known:
            limit = "" if most is None else f" of at most {most:.0f}"
            facts.append(f"{min(known):.0f} to {max(known):.0f}{limit} {unit}")
    facts.append(f"slowed down by {', '.join(gpu.slowed_by) or 'nothing'}")
    return ", ".join(facts)


def _breakable(name: str) -> str:
    """Escaped, and free to wrap after ``_ . :`` on a narrow screen."""
    return re.sub(r"(?<=[_.:])", "<wbr>", escape(name))


def _model_name(comparison: Comparison) -> str:
    return comparison.model.path.rpartition("/")[2]


def section(title: str, lead: str, body: str) -> str:
    """A titled block."""
    lead = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{body}</section>"


def _grid(heads: Sequence[str], rows: Sequence[str], caption: str) -> str:
    # Outside the table, so that it wraps where the table has to scroll.
    above = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return (
        f'{above}<div class="scroll" tabindex="0" role="region" aria-label="{escape(heads[0])}s">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
