from __future__ import annotations

from pathlib import Path

import pytest
import trainings

from tvmkd.base.errors import InputError
from tvmkd.report import training_history as histories
from tvmkd.report.training_history import Epoch


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    history = trainings.training(tmp_path, done=2)
    longer = histories.append(history, trainings.epoch(3))
    assert histories.read(history.path) == longer
    assert [entry.epoch for entry in longer.epochs] == [1, 2, 3]
    assert not longer.finished
    assert trainings.training(tmp_path, "teacher").finished


def test_a_training_that_resumes_has_no_epoch_twice_and_none_too_few(tmp_path: Path) -> None:
    """Killed after five lines, with a checkpoint of three epochs: two come again."""
    history = trainings.training(tmp_path, done=5)
    bare = [Epoch(number, 1.0) for number in (1, 2, 3)]
    again = histories.continued(history.path, history.head, bare)
    assert again.epochs == history.epochs[:3]
    assert histories.read(history.path) == again
    # A checkpoint whose lines were not written: loss and score are its own.
    more = histories.continued(history.path, history.head, [*bare, Epoch(4, 0.5, score=0.9)])
    assert more.epochs == [*history.epochs[:3], Epoch(4, 0.5, score=0.9)]


def test_another_training_starts_a_new_history_with_its_first_epoch(tmp_path: Path) -> None:
    history = trainings.training(tmp_path)
    other = histories.continued(history.path, trainings.head(training="another"), [])
    assert other.epochs == []
    assert histories.read(history.path) == history, "it may fail before it has an epoch"
    longer = histories.append(other, trainings.epoch(1))
    assert histories.read(history.path) == longer
    assert longer.head.training == "another"


def test_a_finished_history_is_not_written_again(tmp_path: Path) -> None:
    history = trainings.training(tmp_path)
    before = history.path.stat().st_mtime_ns
    histories.continued(history.path, trainings.head(started=9.0), history.epochs)
    assert history.path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "text", ["", "half", "[1]", '{"format": "other"}', '{"format": "tvmkd.history", "version": 1}']
)
def test_what_is_no_history_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / f"a{histories.SUFFIX}").write_text(text)
    assert histories.read(tmp_path / f"a{histories.SUFFIX}") is None
    assert histories.of_run(tmp_path) == []


def test_a_line_that_was_cut_is_not_continued(tmp_path: Path) -> None:
    """An epoch's line after half of another would be lost with it."""
    history = trainings.training(tmp_path, done=2)
    with history.path.open("a") as stream:
        stream.write('{"epoch":3,"lo')
    again = histories.continued(history.path, history.head, history.epochs)
    longer = histories.append(again, trainings.epoch(3))
    assert histories.read(history.path) == longer


def test_a_line_that_was_cut_and_keys_of_a_newer_version_do_no_harm(tmp_path: Path) -> None:
    history = trainings.training(tmp_path, done=1)
    with history.path.open("a") as stream:
        stream.write('{"epoch":2,"loss":0.5,"newer":1}\n{"epoch":3,"lo')
    found = histories.read(history.path)
    assert found is not None
    assert list(found.epochs) == [*history.epochs, Epoch(2, 0.5)]


def test_trainings_come_in_the_order_of_a_run(tmp_path: Path) -> None:
    for place in ("quantize/qat", "students/distilled-10", "students/distilled-2", "teacher"):
        trainings.training(tmp_path, place, place)
    trainings.training(tmp_path, "students/shaping/distilled-2", "shaping")
    trainings.training(tmp_path, "assistant-1", "assistant 1")
    trainings.training(tmp_path, "teacher-2", "teacher 2")
    names = [history.head.name for history in histories.of_run(tmp_path)]
    expected = ["teacher", "teacher 2", "assistant 1"]
    expected += ["students/distilled-2", "students/distilled-10", "shaping"]
    assert names == [*expected, "quantize/qat"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    history = trainings.training(tmp_path, done=1)
    history.path.unlink()
    history.path.mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        histories.append(history, trainings.epoch(2))
