"""Prometheus' text format; `test_serve_file` reads the whole page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tvmkd.deploy.board_server.metrics import metric_begin, metric_line


def test_labels_are_escaped() -> None:
    label = 'a "b" \\ c\nd'
    text = metric_begin("x", "gauge", "About.") + "\n" + metric_line("x", {"l": label}, 1.5) + "\n"
    (family,) = text_string_to_metric_families(text)
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"l": label}, 1.5)
