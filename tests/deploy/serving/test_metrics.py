"""What ``/metrics`` shows of the counters."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fake_models import repository, served

from tvmkd.boards import telemetry
from tvmkd.boards.board_state import Telemetry, Zone

pytest.importorskip("prometheus_client", reason="it is needed: pip install 'tvmkd[serve]'")
Value = Callable[..., float]


@pytest.fixture(autouse=True)
def board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "read", lambda: Telemetry(zones=(Zone("cpu", 40.5),)))


def shown(metrics: Any, *models: Any) -> Value:
    """The text as a scraper reads it: the value of a sample."""
    from prometheus_client.exposition import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    text = generate_latest(metrics.registry(repository(*models))).decode()
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    return value


def test_the_numbers_of_each_version() -> None:
    from tvmkd.deploy.serving.metrics import Metrics

    one, two = served(version="1"), served(version="2")
    one.statistics.requests, one.statistics.restarts = 7, 2
    one.statistics.deadline_misses = 3
    one.statistics.errors.update(invalid=4, late=1)
    one.pool.waiting.extend([None] * 5)
    two.pool.ready, two.pool.ready_workers = False, 0
    value = shown(Metrics(), one, two)
    labels = {"model": "toy", "version": "1"}
    assert value("tvmkd_inference_requests_total", **labels) == 7
    assert value("tvmkd_instance_restarts_total", **labels) == 2
    assert value("tvmkd_inference_deadline_misses_total", **labels) == 3
    assert value("tvmkd_inference_queue_length", **labels) == 5
    assert value("tvmkd_inference_errors_total", kind="invalid", **labels) == 4
    assert value("tvmkd_inference_errors_total", kind="late", **labels) == 1
    assert value("tvmkd_model_ready", **labels) == 1
    assert value("tvmkd_instances", **labels) == 1
    labels["version"] = "2"
    assert value("tvmkd_inference_requests_total", **labels) == 0
    assert value("tvmkd_model_ready", **labels) == 0
    assert value("tvmkd_instances", **labels) == 0


def test_histograms_count_from_below_in_seconds() -> None:
    from tvmkd.deploy.serving.metrics import Metrics

    model = served()
    for milliseconds in (1, 2, 30, 60_000):
        model.statistics.served(
            queue=0, copy_in=1000, compute=10**6 * milliseconds, copy_out=1, total=5, late=False
        )
    value = shown(Metrics(), model)
    labels = {"model": "toy", "version": "1", "stage": "compute"}
    name = "tvmkd_inference_duration_seconds"
    counts = [value(f"{name}_bucket", le=le, **labels) for le in ("0.0005", "0.001", "0.0025",
              "0.025", "0.05", "10.0", "+Inf")]  # fmt: skip
    assert counts == [0, 1, 2, 2, 3, 3, 4]
    assert value(f"{name}_count", **labels) == 4
    assert value(f"{name}_sum", **labels) == pytest.approx(60.033)
    labels["stage"] = "copy_in"
    assert value(f"{name}_sum", **labels) == pytest.approx(4e-6)


def test_what_reached_no_model_has_no_model() -> None:
    from tvmkd.deploy.serving.metrics import Metrics

    metrics = Metrics()
    metrics.refused.update(not_found=2, unauthorized=1)
    metrics.connections = lambda: 9
    value = shown(metrics)
    labels = {"model": "", "version": ""}
    assert value("tvmkd_inference_errors_total", kind="not_found", **labels) == 2
    assert value("tvmkd_inference_errors_total", kind="unauthorized", **labels) == 1
    assert value("tvmkd_connections") == 9
    assert value("tvmkd_board_temperature_celsius", zone="cpu") == 40.5


def test_without_a_server_no_connections() -> None:
    from tvmkd.deploy.serving.metrics import Metrics

    with pytest.raises(KeyError):
        shown(Metrics())("tvmkd_connections")


def test_facts_and_memory_of_instances() -> None:
    from tvmkd.deploy.serving.metrics import Metrics

    model = served()
    model.pool.workers = [
        SimpleNamespace(number=0, process=SimpleNamespace(pid=os.getpid())),
        SimpleNamespace(number=1, process=None),
        SimpleNamespace(number=2, process=SimpleNamespace(pid=2**22 + 1)),  # it has just ended
    ]
    value = shown(Metrics(), model)
    labels = {"model": "toy", "version": "1"}
    memory = value("tvmkd_instance_resident_memory_bytes", instance="0", **labels)
    assert memory == pytest.approx(value("process_resident_memory_bytes"), rel=0.2)
    for number in "12":
        with pytest.raises(KeyError):
            value("tvmkd_instance_resident_memory_bytes", instance=number, **labels)
    facts = {"target": "host", "stack": "relax", "onnx_sha256": "0" * 64,
             "created": "2026-01-02T03:04:05Z"}  # fmt: skip
    assert value("tvmkd_model_info", **labels, **facts) == 1
