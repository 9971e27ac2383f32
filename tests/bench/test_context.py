from __future__ import annotations

from typing import Any

import pytest
import samples

from tvmkd.bench import context, schema
from tvmkd.bench.verdict import decide

WEATHER = {"temperature_c": 40.0, "mhz": 2000.0, "load_1min": 0.1}
BOARD = {"clocks_khz": [{"cpu": 0, "now": 5, "min": 5, "max": 5}]}


def _gpu(**fields: Any) -> schema.Gpu:
    return schema.Gpu(
        **{
            "name": "G",
            "driver": "550",
            "sm_mhz": [345.0, None, 1980.0],
            "memory_mhz": [],
            "max_sm_mhz": 1980.0,
            "temperature_c": [],
            "power_w": [],
            "power_limit_w": None,
            "slowed_by": [],
            "locked": False,
            **fields,
        }
    )


def _told(*engines: schema.Engine, gpu: schema.Gpu | None = None) -> list[str]:
    return context.warnings(engines, context.context(engines, WEATHER, WEATHER, gpu))


def test_busy_neighbours_are_told_of_once() -> None:
    engines = [samples.engine("a", 1.0, other_cpu=0.5), samples.engine("b", 1.0, other_cpu=0.7)]
    quiet = samples.engine("c", 1.0, other_cpu=0.01)
    (warning,) = _told(*engines, quiet)
    assert "up to 0.70 CPUs while a, b ran" in warning
    assert _told(quiet) == []


def test_a_gpu_is_locked_or_the_word_unlocked_stands() -> None:
    engine = samples.engine("t", 1.0, device="GPU")
    (warning,) = _told(engine, gpu=_gpu())
    assert "the GPU's clocks were unlocked (345 to 1980 MHz): sudo nvidia-smi" in warning
    assert _told(engine, gpu=_gpu(locked=True)) == []
    (unknown,) = _told(engine)
    assert "unlocked (nvidia-smi tells of none)" in unknown
    slowed = _told(engine, gpu=_gpu(locked=True, slowed_by=["power cap", "power brake"]))
    assert slowed == ["the GPU was slowed down while it was measured: power cap, power brake"]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"busy_before": 0.0}, []),
        ({"busy_before": 4.0, "mig": False}, []),
        (
            {"busy_before": 93.0},
            ["the GPU was not idle before the comparison began (93 % of the time)"],
        ),
        (
            {"busy_before": 0.0, "others": ["python (71)"]},
            [
                (
                    "the GPU was not idle before the comparison began (processes were open on it: "
                    "python (71))"
                ),
            ],
        ),
        (
            {"mig": True},
            [
                (
                    "the GPU is divided (MIG): engines ran on a slice of it, and its clocks and "
                    "power are those of the whole"
                ),
            ],
        ),
    ],
)
def test_a_gpu_that_others_use_is_told_of(facts: dict[str, Any], told: list[str]) -> None:
    engine = samples.engine("t", 1.0, device="GPU")
    assert _told(engine, gpu=_gpu(locked=True, **facts)) == told


@pytest.mark.parametrize(
    ("clocks", "gpu_clock", "locked"),
    [
        (BOARD, {"locked": True}, True),
        (BOARD, {"locked": False}, False),
        (BOARD, None, True),
        ({}, {"locked": True}, True),
        ({}, None, None),
        ({"clocks_khz": [{"cpu": 0, "now": 5, "min": 1, "max": 5}]}, {"locked": True}, False),
    ],
)
def test_a_board_is_locked_where_all_of_it_is(
    clocks: dict[str, Any], gpu_clock: dict[str, Any] | None, locked: bool | None
) -> None:
    facts = {"board": {"cpu": "A57", **clocks}, "celsius": [40.0], "gpu_clock_hz": gpu_clock}
    engine = samples.engine("t", 1.0, device="GPU", facts=facts)
    assert context.context([engine], WEATHER, WEATHER).clocks_locked is locked
    told = "the board's clocks were unlocked: sudo jetson_clocks holds them"
    assert (told in _told(engine)) == (locked is False)


def test_one_build_is_pointed_out_where_there_is_something_to_compare_with() -> None:
    built, other = samples.engine("t", 1.0, kind="tensorrt"), samples.engine("o", 2.0)
    (warning,) = _told(built, other)
    assert warning.startswith("t: timed in one build, and another may have other tactics")
    assert _told(built) == []
    two = [schema.Build(p50=1.0, ci95=(0.9, 1.1), round_sizes=[1])] * 2
    assert _told(built.model_copy(update={"builds": two}), other) == []


def test_different_devices_are_told_apart() -> None:
    engines = [samples.engine("t", 1.0, device="GPU"), samples.engine("o", 2.0, device="CPU")]
    sentence = context.marked(decide(engines), engines).sentence
    assert sentence.endswith("These are not the same device: t on the GPU, o on the CPU.")
    same = [engine.model_copy(update={"device": "GPU"}) for engine in engines]
    assert context.marked(decide(same), same) == decide(same)
