"""The report's header, its figures, its notes and how it was measured, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvmkd.base.text import heading
from tvmkd.bench.schema import Comparison, Gpu
from tvmkd.bench.table import builds, machine, milliseconds, milliseconds_unit, size, threads
from tvmkd.report.view import Mood, Note, Section, Tile


def header(comparison: Comparison) -> dict[str, Any]:
    """The title, the compared model and the verdict, by the names of the template's variables."""
    method, verdict = comparison.method, comparison.verdict
    headline, _, detail = verdict.sentence.partition(": ")
    return {
        "title": f"{_model_name(comparison)}: {verdict.fastest or 'no engine'} leads",
        "emulated": comparison.context.emulated,
        "eyebrow": [_model_name(comparison), machine(comparison), threads(method.threads)],
        "headline": headline,
        "detail": detail,
        "footer": f"{comparison.tool} · {comparison.created}",
    }


def tiles(
    comparison: Comparison, best_accuracy: tuple[str, float] | None, metric: str = "accuracy"
) -> list[Tile]:
    """The figures a person looks for first; none without an engine.

    Args:
        comparison: what to show.
        best_accuracy: name and accuracy (0 to 1) of the compared model.
        metric: what the accuracy is.
    """
    if not comparison.engines:
        return []
    fastest = comparison.engine(comparison.verdict.fastest or "") or comparison.engines[0]
    unit = milliseconds_unit(comparison)
    calls = len(fastest.samples_ms)
    found = [
        Tile(f"{milliseconds(fastest.p50)} {unit}", f"median of {fastest.name}, the fastest"),
        Tile(f"{milliseconds(fastest.p99)} {unit}", f"p99 of {calls} calls"),
    ]
    if comparison.budget is not None:
        limit = comparison.budget.model_ms
        share = fastest.p99 / limit
        text = f"{share:.0%}" if share >= 0.01 else "under 1%"
        mood: Mood = "good" if share <= 1 else "bad"
        found.append(Tile(text, f"of the {limit:g} ms budget at p99", mood))
    if best_accuracy is not None:
        found.append(Tile(f"{best_accuracy[1]:.1%}", f"{metric} of {best_accuracy[0]}"))
    if fastest.size_bytes is not None:
        found.append(Tile(size(fastest.size_bytes), f"to ship for {fastest.name}"))
    return found


def notes(comparison: Comparison) -> list[Note]:
    """What a reader must know before relying on the figures, and which engines have none."""
    return [
        *(
            Note(f"was left out ({item.why}): {item.reason}", item.name)
            for item in comparison.left_out
        ),
        *(Note(text) for text in comparison.warnings),
        *(Note(builds(engine)) for engine in comparison.engines if len(engine.builds) > 1),
    ]


def method(comparison: Comparison, metadata: Mapping[str, str]) -> Section:
    """How it was measured, on which machine."""
    how, context, model = comparison.method, comparison.context, comparison.model
    shapes = ", ".join(
        f"{tensor.name} {' × '.join(map(str, tensor.shape))} {tensor.dtype}"
        for tensor in model.inputs
    )
    repeated = f"{how.builds} of each engine that chooses tactics when it is built"
    facts = {
        "Model": f"{_model_name(comparison)}, SHA-256 {model.sha256[:16]}…",
        "Input": shapes,
        **{heading(key): value for key, value in metadata.items()},
        "One call is": how.measured,
        "Threads": f"{how.threads} for every engine, pinned to CPU "
        + ", ".join(map(str, how.pinned_cpus)),
        "Order": f"{how.rounds} rounds, {how.order}; {how.seconds:g} s an engine, after a warm-up "
        "until stable",
        "Idle engines": how.idle,
        "Outputs": f"checked on {how.samples_checked} inputs against {how.reference}",
        "Processes": f"each engine was started {how.processes} times" if how.processes > 1 else "",
        "Builds": repeated if how.builds > 1 else "",
        "CUDA graph": {None: "", True: "for all engines on the GPU", False: "for none"}[
            how.cuda_graph
        ],
        "Machine": _machine(comparison),
        "GPU": _gpu(context.gpu),
        "Versions": ", ".join(f"{name} {version}" for name, version in context.versions.items()),
        "Measured": f"{comparison.created} by {comparison.tool}",
    }
    known = {key: value for key, value in facts.items() if value}
    return Section("How this was measured", facts=known)


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


def _model_name(comparison: Comparison) -> str:
    return comparison.model.path.rpartition("/")[2]
