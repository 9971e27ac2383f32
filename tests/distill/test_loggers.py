from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError, MissingError
from tvmkd.config.sections import LOGGERS
from tvmkd.distill import loggers
from tvmkd.report.training_history import Epoch, Head

HEAD = Head("student (seed 0)", "student", "abc", 3, "accuracy")


def entry(number: int) -> Epoch:
    return Epoch(number, 1.0 / number, parts={"hint a.b": 0.25}, seconds={"data": 0.5})


def trained(logger: loggers.Logger, epochs: range, done: int = 0) -> None:
    logger.start("students/distilled-0", HEAD, done)
    for number in epochs:
        logger.log("students/distilled-0", number, loggers.flat(entry(number)))
    logger.close()


def test_the_config_and_the_loggers_have_one_list_of_names() -> None:
    assert set(LOGGERS) == set(loggers.PACKAGES)


def test_an_epoch_is_flat_without_what_is_not_known() -> None:
    assert loggers.flat(entry(2)) == {
        "loss/total": 0.5,
        "loss/hint a.b": 0.25,
        "seconds/data": 0.5,
    }


@pytest.mark.parametrize("name", loggers.PACKAGES)
def test_what_is_not_installed_is_told_with_the_command(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(MissingError, match=rf"not installed: pip install 'tvmkd\[{name}\]'"):
        loggers.make(name, tmp_path, "run")


def test_a_function_of_your_own_is_called_and_looked_for_first(tmp_path: Path) -> None:
    (tmp_path / "logger_of_mine.py").write_text(
        "seen = []\ndef log(training, epoch, values):\n    seen.append((training, epoch, values))\n"
    )
    trained(loggers.make("logger_of_mine:log", tmp_path, "run", [tmp_path]), range(1, 3))
    import logger_of_mine  # type: ignore[import-not-found]

    assert [seen[:2] for seen in logger_of_mine.seen] == [
        ("students/distilled-0", 1),
        ("students/distilled-0", 2),
    ]
    assert logger_of_mine.seen[0][2]["loss/total"] == 1.0
    with pytest.raises(InputError, match="has no lok"):
        loggers.make("logger_of_mine:lok", tmp_path, "run", [tmp_path])


def test_one_that_fails_is_a_warning_once(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []

    def full(name: str, epoch: int, values: Mapping[str, float]) -> None:
        calls.append(epoch)
        raise OSError(28, "No space left on device")

    trained(loggers.Harmless(loggers.Calling(full), "mine:full"), range(1, 4))
    assert calls == [1]
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "No space left on device" in said.replace("\n", " ")


def test_tensorboard_reads_what_was_written_and_no_epoch_twice(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(loggers.make("tensorboard", tmp_path, "run"), range(1, 4))
    # Killed after the third epoch, with a checkpoint of the first.
    trained(loggers.make("tensorboard", tmp_path, "run"), range(2, 4), done=1)
    read: Any = EventAccumulator(str(tmp_path / "tensorboard" / "students" / "distilled-0"))
    read.Reload()
    assert "loss/hint a.b" in read.Tags()["scalars"]
    found = [(event.step, round(event.value, 3)) for event in read.Scalars("loss/total")]
    assert found == [(1, 1.0), (2, 0.5), (3, 0.333)]


class Client:
    """As much of MLflow's client as is used, with what it was told."""

    def __init__(self) -> None:
        self.experiments: list[str] = []
        self.runs: list[Any] = []
        self.metrics: list[Any] = []
        self.ended: list[str] = []

    def get_experiment_by_name(self, name: str) -> Any:
        return Record(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        self.experiments.append(name)
        return name

    def search_runs(self, experiments: list[str], text: str) -> list[Any]:
        return [run for run in self.runs if run.training in text]

    def update_run(self, run: str, status: str) -> None:
        self.ended.remove(run)

    def get_metric_history(self, run: str, name: str) -> list[Any]:
        return [Record(step=step) for step, key, _ in self.metrics if key == name]

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        made = Record(info=Record(run_id=run_name), training=tags["tvmkd.training"])
        self.runs.append(made)
        return made

    def log_param(self, run: str, name: str, value: Any) -> None:
        assert name in ("epochs", "metric", "device", "processes")

    def log_batch(self, run: str, metrics: list[Any]) -> None:
        self.metrics += [(each.step, each.key, each.value) for each in metrics]

    def set_terminated(self, run: str) -> None:
        self.ended.append(run)


class Record:
    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


def test_mlflow_goes_on_with_its_run_and_no_epoch_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()

    def metric(key: str, value: float, step: int) -> Any:
        return Record(key=key, value=value, step=step)

    for epochs in (range(1, 3), range(2, 4)):
        logger = loggers.MLflow(tmp_path, "toy")
        monkeypatch.setattr(logger, "_connect", lambda: client)
        monkeypatch.setattr(logger, "_metric", metric)
        trained(logger, epochs)
    assert client.experiments == ["toy"]
    assert [run.info.run_id for run in client.runs] == ["students/distilled-0"]
    assert [step for step, key, _ in client.metrics if key == "loss/total"] == [1, 2, 3]
    assert client.ended == ["students/distilled-0"]
    assert loggers.metric_name("hint a[0].b (x)") == "hint a_0_.b _x_"


@pytest.mark.slow
def test_mlflow_itself_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for epochs in (range(1, 3), range(2, 4)):
        trained(loggers.make("mlflow", tmp_path / "run", "toy"), epochs)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/run/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["epochs"] == "3"
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "loss/total")
    assert [metric.step for metric in history] == [1, 2, 3]
    assert client.get_metric_history(run.info.run_id, "loss/hint a.b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
