from __future__ import annotations

import math
from pathlib import Path

import pytest
import streams
from fleets import metrics

from tvmkd.base.errors import InputError
from tvmkd.deploy.monitoring import production, scrape
from tvmkd.deploy.monitoring.production import Counts, Times

BUCKET = "tvmkd_inference_duration_seconds_bucket"


def compute(*models: str, counts: tuple[int, ...] = (4, 10, 12)) -> str:
    """Metrics with the stage of computing of some models."""
    lines = ["# TYPE tvmkd_inference_duration_seconds histogram"]
    for model in models:
        for stage, factor in (("queue", 3), ("compute", 1)):
            for limit, count in zip(("0.001", "0.01", "+Inf"), counts, strict=True):
                labels = f'model="{model}",version="1",stage="{stage}",le="{limit}"'
                lines.append(f"{BUCKET}{{{labels}}} {factor * count}")
    return "\n".join(lines) + "\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "seen"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_servers_metrics(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    path = write(tmp_path, compute("a"))
    expected = Counts([0.0, 1e-3, 1e-2, math.inf], [4, 6, 2], None, str(path))
    assert production.read(path) == expected
    both = write(tmp_path, compute("a", "b"))
    assert production.read(both, "b") == expected
    with pytest.raises(InputError, match="has several models \\(a, b\\): name one"):
        production.read(both)
    with pytest.raises(InputError, match="has no model c; it has a, b"):
        production.read(both, "c")
    with pytest.raises(InputError, match="sends no metrics"):
        production.read(write(tmp_path, f"{BUCKET}{{le= 5\n"))


def test_the_metrics_that_tvmkd_serves_are_read() -> None:
    pytest.importorskip("prometheus_client")
    found = production.of_metrics(scrape.parse(metrics()), None, "s")
    assert found == Counts([0.0, math.inf], [7], None, "s")
    with pytest.raises(InputError, match="s: has no times of a model"):
        production.of_metrics({}, None, "s")


def test_what_was_counted_between_two_readings() -> None:
    first = Counts([0.0, 1.0, math.inf], [3, 1], None, "s")
    later = Counts([0.0, 1.0, math.inf], [9, 1], None, "s")
    assert production.since(later, first).counts == [6, 0]
    with pytest.raises(InputError, match="was started again"):
        production.since(first, later)


@pytest.mark.parametrize(
    "text",
    [
        "1.5\n2\n\n2.5\n",
        "ms\n1.5\n2\n2.5\n",
        '"time","ms"\n10,1.5\n11,2\n12,2.5\n',
        "ms,n,time\n1.5,,2026-01-01T01:00:10Z\n2,,2026-01-01T01:00:11Z\n2.5,,2026-01-01 01:00:12",
        '{"ms": 1.5}\n{"ms": 2}\n{"ms": 2.5}\n',
        '{"latency_ms": 1.5, "t": 10}\n{"latency_ms": 2, "t": 11}\n{"latency_ms": 2.5, "t": 12}',
    ],
)
def test_milliseconds_as_people_log_them(tmp_path: Path, text: str) -> None:
    found = production.read(write(tmp_path, text))
    assert isinstance(found, Times)
    assert found.seconds == [1.5e-3, 2e-3, 2.5e-3]
    stamped = "1" in text.partition("t")[2] and ("time" in text or '"t"' in text)
    assert (found.when is not None) is stamped
    if found.when is not None:
        assert [each - found.when[0] for each in found.when] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5\nfast\n", "line 2: 'fast' is no time in milliseconds"),
        ("1.5\n-2\n", "line 2: '-2' is no time above 0 ms"),
        ("1.5\nnan\n", "line 2: 'nan' is no time above 0 ms"),
        ("1,2\n3,4\n", "several columns: name them in its first line, as ms,time"),
        ("time,us\n3,4\n", "several columns"),
        ('{"ms": 1}\n{"us": 1}\n', "line 2: has none of ms, latency_ms, milliseconds"),
        ('{"ms": 1}\n{"ms": \n', "line 2: is no JSON object"),
        ('{"ms": 1, "time": "noon"}\n', "line 1: 'noon' is no time stamp"),
        ("ms\n", "holds no times"),
        ("", "holds no times"),
    ],
)
def test_what_is_no_time_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        production.read(write(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        production.read(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read: no UTF-8"):
        production.read(tmp_path / "binary")


def test_a_stream_tells_the_time_of_its_model(tmp_path: Path) -> None:
    result = streams.result([5.0, 6.0, 7.0] * 10)
    result.save(tmp_path / "stream.json")
    found = production.read(tmp_path / "stream.json")
    assert isinstance(found, Counts)
    stage = next(each for each in result.stages if each.name == "model")
    assert sum(found.counts) == sum(stage.counts) > 0
    assert found.median == stage.ms.p50 / 1e3
    assert found.limits[0] <= found.median <= found.limits[-1]
    two = result.model_copy(update={"models": [*result.models, *result.models]})
    with pytest.raises(InputError, match="frames of several models or exits"):
        production.of_stream(two, "s")
    with pytest.raises(InputError, match="no frame was run"):
        production.of_stream(result.model_copy(update={"stages": []}), "s")
