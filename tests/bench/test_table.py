from __future__ import annotations

import io
import threading

import pytest
import samples
from rich.console import Console

from tvmkd.bench import schema, table


def _shown(width: int = 110, emulated: bool = False) -> str:
    stream = io.StringIO()
    made = samples.five()
    context = made.context.model_copy(update={"emulated": emulated})
    made = made.model_copy(update={"context": context})
    table.show(made, Console(file=stream, width=width))
    return stream.getvalue()


def test_engines_stand_from_fast_to_slow_with_what_matters() -> None:
    text = _shown()
    places = [text.index(f" {name} ") for name in ("tvm", "onnxruntime", "torch", "tvm:untuned")]
    assert places == sorted(places)
    assert "over the budget of 3 ms" in text
    assert "tensorrt was left out (missing): tensorrt is not <installed>" in text
    assert "other processes used 0.31 CPUs" in text
    assert "tvm is 1.27× as fast as onnxruntime" in text


def test_emulated_times_say_so() -> None:
    assert "emulated" not in _shown()
    assert "ms (emulated) for one call" in _shown(emulated=True)


def test_it_fits_a_terminal_of_80_columns() -> None:
    text = _shown(80)
    assert max(len(line) for line in text.splitlines()) <= 80
    for name in ("onnxruntime", "torch.compile", "tvm:untuned"):
        assert name in text


def test_over_budget_is_marked_on_the_right_engines() -> None:
    marked = [line for line in _shown().splitlines() if " ! " in f"{line} " and "1.2 MB" in line]
    assert [line.split()[0] for line in marked] == ["torch", "tvm:untuned"]


def test_what_an_engine_takes_stands_beside_its_time() -> None:
    made = samples.comparison(
        samples.engine(
            "tensorrt",
            1.0,
            relative_error=2e-4,
            tolerance=2e-2,
            device="GPU",
            engine_seconds=41.5,
            gpu_memory_bytes=55_000_000,
            peak_rss_bytes=900_000_000,
            builds=[
                schema.Build(p50=ms, ci95=(0.99 * ms, 1.01 * ms), round_sizes=[])
                for ms in (1.0, 1.1)
            ],
        ),
        samples.engine("tvm", 2.0, tuning_seconds=7200.0, seed=1),
    )
    gpu = schema.Gpu.model_construct(name="Stand-in")
    context = made.context.model_copy(update={"gpu": gpu, "clocks_locked": False})
    method = made.method.model_copy(update={"cuda_graph": True})
    made = made.model_copy(update={"context": context, "method": method})
    stream = io.StringIO()
    table.show(made, Console(file=stream, width=80))
    text = stream.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "tensorrt 2.0e-04 0.02 0.4 s 42 s – 900.0 MB 55.0 MB" in lines
    assert "tvm 1.0e-06 – 0.4 s – 2.0 h 120.0 MB –" in lines
    flat = " ".join(text.split())
    assert "2 builds, medians 1.00 to 1.10 ms, 10.0% apart; within one build the median" in flat
    assert "known to ± 1.0%" in flat
    assert "AMD EPYC 7B13 and Stand-in, clocks unlocked, CUDA graph, 2 threads" in flat


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0123, "0.012 s"),
        (41.5, "42 s"),
        (120.0, "120 s"),
        (600.0, "10 min"),
        (7200.0, "2.0 h"),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert table.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.012")],
)
def test_milliseconds(value: float, text: str) -> None:
    assert table.milliseconds(value) == text


def test_each_event_shows_at_once_and_nothing_moves_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = threading.active_count()
    stream, warned = io.StringIO(), []  # type: tuple[io.StringIO, list[str]]
    monkeypatch.setattr(
        table, "console", lambda: Console(file=stream, force_terminal=True, width=100)
    )
    monkeypatch.setattr(table, "warn", warned.append)

    def shown() -> str:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return text

    with table.following() as tell:
        shown()
        tell("check", {"engine": "a"})
        assert "checking a" in shown()
        tell("warm", {"engine": "a"})
        assert "warming up a" in shown()
        tell("round", {"round": 1, "rounds": 4, "engines": ["a", "c"]})
        text = shown()
        assert "timing a, c in turns" in text
        assert "1/4" in text
        tell("left_out", {"engine": "b", "why": "failed", "reason": "it [bold]broke"})
        assert warned == ["b is left out: it [bold]broke"]
        assert threading.active_count() == before, "a thread would take the CPU from an engine"
