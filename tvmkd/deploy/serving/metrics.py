"""``/metrics``: what is counted, in Prometheus' text format; docs/how-to/serve.md has the names."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.version import __version__
from tvmkd.boards import telemetry
from tvmkd.deploy.serving import board_metrics
from tvmkd.deploy.serving.statistics import BUCKETS, STAGES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from tvmkd.deploy.serving.repository import Repository, Served

LABELS = ("model", "version")


class Metrics:
    """Counts what no model counts, and shows everything.

    Attributes:
        refused: requests that reached no model, by kind (see `tvmkd.deploy.serving.faults`).
        connections: tells how many are open; None: unknown.
    """

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self.connections: Callable[[], int] | None = None

    def registry(self, repository: Repository) -> CollectorRegistry:
        """A registry with everything that this server shows."""
        from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

        made = CollectorRegistry()
        ProcessCollector(registry=made)
        PlatformCollector(registry=made)
        made.register(_Collector(self, repository))
        return made


class _Collector:
    """Reads the counters when somebody asks (prometheus_client's custom collectors)."""

    def __init__(self, metrics: Metrics, repository: Repository) -> None:
        self._metrics, self._repository = metrics, repository

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        all_served = list(self._repository.served())
        yield InfoMetricFamily("tvmkd_server", "The server.", {"version": __version__})
        if self._metrics.connections is not None:
            connections = GaugeMetricFamily("tvmkd_connections", "Open HTTP connections.")
            connections.add_metric([], self._metrics.connections())
            yield connections

        counter = functools.partial(CounterMetricFamily, labels=LABELS)
        gauge = functools.partial(GaugeMetricFamily, labels=LABELS)
        families: dict[str, Any] = {
            "requests": counter("tvmkd_inference_requests", "Requests for inference."),
            "misses": counter(
                "tvmkd_inference_deadline_misses",
                "Accepted requests that were answered after their deadline.",
            ),
            "restarts": counter("tvmkd_instance_restarts", "Instances that were started again."),
            "queue": gauge("tvmkd_inference_queue_length", "Requests that wait."),
            "instances": gauge("tvmkd_instances", "Instances that can compute."),
            "ready": gauge("tvmkd_model_ready", "1 if requests are accepted."),
        }
        for served in all_served:
            for key, value in _numbers(served).items():
                families[key].add_metric([served.name, served.version], value)
        yield from families.values()
        errors = CounterMetricFamily(
            "tvmkd_inference_errors", "Requests that got no result.", labels=(*LABELS, "kind")
        )
        for served in all_served:
            for kind, count in served.statistics.errors.items():
                errors.add_metric([served.name, served.version, kind], count)
        for kind, count in self._metrics.refused.items():
            errors.add_metric(["", "", kind], count)
        yield errors
        durations = HistogramMetricFamily(
            "tvmkd_inference_duration_seconds",
            "Time of answered requests by stage.",
            labels=(*LABELS, "stage"),
        )
        for served in all_served:
            for stage in STAGES:
                buckets, total = _buckets(served, stage)
                durations.add_metric([served.name, served.version, stage], buckets, total)
        yield durations
        info = InfoMetricFamily("tvmkd_model", "A loaded model.", labels=LABELS)
        memory = GaugeMetricFamily(
            "tvmkd_instance_resident_memory_bytes",
            "Resident memory of an instance.",
            labels=(*LABELS, "instance"),
        )
        for served in all_served:
            info.add_metric([served.name, served.version], _facts(served))
            for number, size in _resident(served).items():
                memory.add_metric([served.name, served.version, str(number)], size)
        yield info
        yield memory
        yield from board_metrics.families(telemetry.read())


def _numbers(served: Served) -> Mapping[str, float]:
    statistics, pool = served.statistics, served.pool
    return {
        "requests": statistics.requests,
        "misses": statistics.deadline_misses,
        "restarts": statistics.restarts,
        "queue": len(pool.waiting),
        "instances": pool.ready_workers,
        "ready": float(pool.ready),
    }


def _buckets(served: Served, stage: str) -> tuple[list[tuple[str, float]], float]:
    histogram = served.statistics.stages[stage]
    total, buckets = 0, []
    for limit, count in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
        total += count
        buckets.append((limit, float(total)))
    return buckets, histogram.sum_ns / 1e9


def _facts(served: Served) -> dict[str, str]:
    manifest = served.manifest
    return {
        "target": str(manifest.target.get("name", "")),
        "stack": manifest.stack,
        "onnx_sha256": manifest.onnx_sha256,
        "created": manifest.created,
    }


def _resident(served: Served) -> dict[int, int]:
    found = {}
    for worker in served.pool.workers:
        if worker.process is not None:
            try:
                text = Path(f"/proc/{worker.process.pid}/statm").read_text(encoding="ascii")
            except OSError:
                continue
            found[worker.number] = int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return found
