"""``/metrics`` in Prometheus' text format; docs/how-to/serve.md has the names."""

import os
import resource
import time
from typing import Any, Dict, List

from .board import board_gauges, power_mode, throttle_events
from .statistics import BUCKETS, STAGES


def metric_line(name: str, labels: Dict[str, str], value: float) -> str:
    """One sample."""
    escaped = []
    for key, text in labels.items():
        for letter, code in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
            text = text.replace(letter, code)
        escaped.append('%s="%s"' % (key, text))
    return "%s%s %.17g" % (name, "{%s}" % ",".join(escaped) if escaped else "", value)


def metric_begin(name: str, kind: str, about: str) -> str:
    """The lines before a metric's samples."""
    return "# HELP %s %s\n# TYPE %s %s" % (name, about, name, kind)


def model_metrics(models: List[Any]) -> List[str]:
    """What is counted for each model."""
    families = (
        ("tvmkd_inference_requests_total", "counter", "Requests for inference.",
         lambda m: m.statistics.requests),
        ("tvmkd_inference_deadline_misses_total", "counter",
         "Accepted requests that were answered after their deadline.",
         lambda m: m.statistics.deadline_misses),
        ("tvmkd_instance_restarts_total", "counter", "Instances that were started again.",
         lambda m: m.statistics.restarts),
        ("tvmkd_inference_queue_length", "gauge", "Requests that wait.",
         lambda m: len(m.waiting)),
        ("tvmkd_instances", "gauge", "Instances that can compute.",
         lambda m: sum(each.ready for each in m.instances)),
        ("tvmkd_model_ready", "gauge", "1 if requests are accepted.", lambda m: m.ready),
    )  # fmt: skip
    lines = []
    for name, kind, about, value in families:
        lines.append(metric_begin(name, kind, about))
        lines += [metric_line(name, labels_of(model), value(model)) for model in models]
    name = "tvmkd_inference_duration_seconds"
    lines.append(metric_begin(name, "histogram", "Time of answered requests by stage."))
    for model in models:
        for stage in STAGES:
            labels, total = dict(labels_of(model), stage=stage), 0
            limits = [*map(str, BUCKETS), "+Inf"]
            for limit, count in zip(limits, model.statistics.counts[stage]):
                total += count
                lines.append(metric_line(name + "_bucket", dict(labels, le=limit), total))
            lines.append(metric_line(name + "_count", labels, total))
            lines.append(metric_line(name + "_sum", labels, model.statistics.sums[stage]))
    lines += learn_metrics(models)
    lines.append(metric_begin("tvmkd_model_info", "gauge", "A loaded model."))
    for model in models:
        facts = {key: model.facts[key] for key in ("target", "built_by", "onnx_sha256")}
        labels = dict(labels_of(model), stack="standalone", **facts)
        lines.append(metric_line("tvmkd_model_info", labels, 1))
    name = "tvmkd_instance_resident_memory_bytes"
    lines.append(metric_begin(name, "gauge", "Resident memory of an instance."))
    for model in models:
        for each in model.instances:
            labels = dict(labels_of(model), instance=str(each.number))
            if each.process is not None:
                lines.append(metric_line(name, labels, resident(each.process.pid)))
    return lines


def learn_metrics(models: List[Any]) -> List[str]:
    """What the heads of ``--learn`` did."""
    lines: List[str] = []
    rows = [(model, row) for model in models if model.lesson for row in model.lesson.metrics()]
    for name in dict.fromkeys(row[0] for _, row in rows):
        same = [(model, row) for model, row in rows if row[0] == name]
        lines.append(metric_begin(name, same[0][1][1], same[0][1][2]))
        for model, (_, _, _, labels, value) in same:
            lines.append(metric_line(name, dict(labels_of(model), **labels), value))
    return lines


def labels_of(model: Any) -> Dict[str, str]:
    """The labels of a model's metrics."""
    return {"model": model.name, "version": "1"}


def resident(pid: int) -> int:
    """Bytes that a process has in memory."""
    try:
        with open("/proc/%d/statm" % pid) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def process_metrics(started: float) -> List[str]:
    """As prometheus_client's ProcessCollector."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    rows = (
        ("process_resident_memory_bytes", "gauge", resident(os.getpid())),
        ("process_start_time_seconds", "gauge", time.time() - (time.monotonic() - started)),
        ("process_cpu_seconds_total", "counter", used.ru_utime + used.ru_stime),
        ("process_open_fds", "gauge", len(os.listdir("/proc/self/fd"))),
        ("process_max_fds", "gauge", soft),
    )
    lines = []
    for name, kind, value in rows:
        lines += [metric_begin(name, kind, "Of this process."), metric_line(name, {}, value)]
    return lines


def write_metrics(server: Any) -> bytes:
    """Everything."""
    loaded = [model for model in server.models.values() if model.loaded]
    lines = [metric_begin("tvmkd_server_info", "gauge", "The server.")]
    lines.append(metric_line("tvmkd_server_info", {"version": server.version}, 1))
    lines.append(metric_begin("tvmkd_connections", "gauge", "Open HTTP connections."))
    lines.append(metric_line("tvmkd_connections", {}, len(server.connections)))
    lines += model_metrics(loaded)
    name = "tvmkd_inference_errors_total"
    lines.append(metric_begin(name, "counter", "Requests that got no result."))
    for model in loaded:
        for kind, count in model.statistics.errors.items():
            lines.append(metric_line(name, dict(labels_of(model), kind=kind), count))
    for kind, count in server.refused.items():
        lines.append(metric_line(name, {"model": "", "version": "", "kind": kind}, count))
    lines += process_metrics(server.started)
    for key, about, samples in board_gauges():
        name = "tvmkd_board_" + key
        lines.append(metric_begin(name, "gauge", about))
        lines += [metric_line(name, labels, value) for labels, value in samples]
    events, mode = throttle_events(), power_mode()
    if events is not None:
        name = "tvmkd_board_throttle_events_total"
        lines.append(metric_begin(name, "counter", "How often it throttled since it was started."))
        lines.append(metric_line(name, {}, events))
    if mode is not None:
        lines.append(metric_begin("tvmkd_board_power_mode_info", "gauge", "nvpmodel's."))
        lines.append(metric_line("tvmkd_board_power_mode_info", {"mode": mode}, 1))
    return ("\n".join(lines) + "\n").encode()
