from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

from tvmkd.bench.options import CompareOptions


def test_every_option_is_documented_and_has_a_default() -> None:
    documented = re.findall(r"^    (\w+):", inspect.getdoc(CompareOptions) or "", re.M)
    assert documented == [field.name for field in dataclasses.fields(CompareOptions)]
    assert CompareOptions() == CompareOptions()


@pytest.mark.parametrize(
    ("seconds", "limit", "wanted"),
    [(5.0, None, 10.0), (60.0, None, 10.0), (2.0, None, 4.0), (0.1, None, 1.0), (0.1, 0.2, 0.2)],
)
def test_the_warm_up_is_bounded_by_the_measuring_time(
    seconds: float, limit: float | None, wanted: float
) -> None:
    assert CompareOptions(seconds=seconds, warmup_limit=limit).warmup_seconds == wanted


def test_every_option_of_the_command_is_one_of_the_method_or_is_taken_by_it() -> None:
    from tvmkd.cli.compare import command

    taken = set(inspect.signature(command.callback).parameters)  # type: ignore[arg-type]
    # The sizes of --shape are among those of --dim.
    passed_on = {parameter.name for parameter in command.params} - taken - {"shape"}
    fields = {field.name for field in dataclasses.fields(CompareOptions)}
    assert passed_on <= fields
    assert {"threads", "seconds", "rounds", "builds", "cuda_graph"} <= passed_on
