from __future__ import annotations

import pages
from streams import laddered, result

from tvmkd.deploy.streaming import page


def test_a_stream_on_time() -> None:
    text = page.render(result([5.0] * 100))
    read = pages.read(text)
    assert read.headings[0] == "student: on time, 100 of 100 frames"
    assert read.headings[1:] == [
        "Before you rely on this",
        "Latency over time",
        "Where the time goes",
        "How this was measured",
    ]
    assert "all 100 frames were done in 20 ms" in read.text
    assert "no real-time priority" in read.text
    assert "random pixels" in read.text
    assert read.addresses == []


def test_a_stream_with_misses_a_ladder_and_heat() -> None:
    made = laddered()
    read = pages.read(page.render(made))
    assert (
        read.headings[0]
        == f"student: {made.misses} of {made.released} frames missed their deadline"
    )
    assert {"Temperature and clocks", "What was done when late"} <= set(read.headings)
    assert "1: small <b>" in read.text
    assert "2 of 15 frames were late" in read.text
    assert "THROTTLED at 1 of 3 readings" in read.text
    assert read.classes["late"] > 0
    assert read.classes["dropped"] > 0


def test_settings_are_told() -> None:
    made = result([5.0] * 10)
    settings = made.settings.model_copy(
        update={
            "cpus": [2, 3],
            "priority": "fifo:50",
            "locked_memory": True,
            "power": "max",
            "model_ms": 1.0,
        }
    )
    read = pages.read(page.render(made.model_copy(update={"settings": settings})))
    for text in ("pinned to 2, 3", "fifo:50", "locked", "max"):
        assert text in read.text
    assert "no real-time priority" not in read.text
    assert "of 1 ms" in read.text
    assert "over" in read.text


def test_an_early_end_is_told() -> None:
    read = pages.read(page.render(result([5.0] * 10, interrupted=True)))
    assert "the stream was ended after" in read.text
