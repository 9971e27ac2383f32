from __future__ import annotations

from pathlib import Path

import pytest
from small import small

from tvmkd.base.errors import InputError
from tvmkd.distill import tasks
from tvmkd.distill.classification import ClassificationTask

CODE = """
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.task import Metric

class Mine(ClassificationTask):
    metrics = (Metric("recall"),)

def none(cfg):
    return None

def broken(cfg):
    raise RuntimeError("no such card")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "my_tasks_code.py").write_text(CODE)
    return tmp_path


def test_the_data_set_says_what_is_learnt() -> None:
    assert type(tasks.make(small())) is ClassificationTask
    assert type(tasks.make(small(data={"task": "classification"}))) is ClassificationTask


def test_a_users_task_is_made_from_the_config(code: Path) -> None:
    made = tasks.make(small(data={"task": "my_tasks_code:Mine"}), [code])
    assert made.metric.name == "recall"
    assert made.search_in == (code,)
    assert made.count("train") == 256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("detektion", r'\[data\] task "detektion": not known; did you mean "detection"'),
        ("my_tasks_code:none", "returns NoneType; it has to return a tvmkd.distill.task.Task"),
        ("my_tasks_code:broken", r"RuntimeError: no such card \(my_tasks_code.py:12\)"),
    ],
)
def test_a_task_that_cannot_be_made_is_one_line(code: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tasks.make(small(data={"task": name}), [code])
