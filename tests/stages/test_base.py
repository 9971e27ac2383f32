from __future__ import annotations

import subprocess
import sys

from tvmkd import config, stages
from tvmkd.cli import distill as distill_verb
from tvmkd.stages import CLASSES, OPTIONAL, STAGES
from tvmkd.stages.base import Stage, in_order


def test_the_order_follows_from_what_each_stage_comes_after() -> None:
    class First(Stage):
        name = "first"

    class Second(Stage):
        name = "second"
        after = First

    class Third(Stage):
        name = "third"
        after = Second

    assert in_order(Third) == (First, Second, Third)
    assert in_order(First) == (First,)


def test_the_stages_of_a_run() -> None:
    assert (
        *("distill", "prune", "quantize", "early_exit", "export"),
        *("tune", "build", "compare", "report", "gate"),
    ) == STAGES
    assert OPTIONAL == ("prune", "quantize", "early_exit")
    assert set(stages.Stage.__subclasses__()) >= set(CLASSES)


def test_an_optional_stage_is_part_of_a_run_if_the_config_has_its_section() -> None:
    def names(**sections: object) -> set[str]:
        cfg = config.parse({"project": {"name": "toy"}, **sections})
        return {stage.name for stage in CLASSES if stage.is_part_of(cfg)}

    always = set(STAGES) - set(OPTIONAL)
    assert names() == always
    assert names(prune={}, quantize={}) == {*always, "prune", "quantize"}
    assert names(early_exit={"exits": ["a"]}) == {*always, "early_exit"}


def test_distilling_ends_with_the_last_stage_that_changes_the_student() -> None:
    assert distill_verb.LAST == "early_exit"


def test_the_names_of_the_stages_load_nothing_heavy() -> None:
    code = "import sys, tvmkd.stages; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "tvm", "onnx", "onnxruntime", "numpy", "pydantic", "rich"}
    assert set(done.stdout.split()) & heavy == set()
