from __future__ import annotations

import io

import pytest
import samples
from rich.console import Console

from tvmkd.bench import table


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


@pytest.mark.parametrize(
    ("value", "text"),
    [(123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.012")],
)
def test_milliseconds(value: float, text: str) -> None:
    assert table.milliseconds(value) == text


def test_following_takes_every_event() -> None:
    with table.following() as tell:
        tell("check", {"engine": "a"})
        tell("warm", {"engine": "a"})
        tell("round", {"round": 0, "rounds": 2, "engines": ["a"]})
        tell("left_out", {"engine": "b", "why": "failed", "reason": "it [bold]broke"})
