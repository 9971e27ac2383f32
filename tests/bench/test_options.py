from __future__ import annotations

import dataclasses
import inspect
import re

from tvmkd.bench.options import CompareOptions


def test_every_option_is_documented_and_has_a_default() -> None:
    documented = re.findall(r"^    (\w+):", inspect.getdoc(CompareOptions) or "", re.M)
    assert documented == [field.name for field in dataclasses.fields(CompareOptions)]
    assert CompareOptions() == CompareOptions()


def test_every_option_of_the_command_is_one_of_the_method_or_is_taken_by_it() -> None:
    from tvmkd.cli.compare import command

    taken = set(inspect.signature(command.callback).parameters)  # type: ignore[arg-type]
    passed_on = {parameter.name for parameter in command.params} - taken
    fields = {field.name for field in dataclasses.fields(CompareOptions)}
    assert passed_on <= fields
    assert {"threads", "seconds", "rounds", "builds", "cuda_graph"} <= passed_on
