"""Sends the numbers of a training to where ``[project] log_to`` says: TensorBoard, MLflow, a call.

Each through its own library, which is imported only here. A logger never ends a training: if it
fails in the middle, that is said once, and it gets nothing more.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tvmkd.base import console, user_code
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.text import first_line
from tvmkd.report.training_history import Epoch, Head

TENSORBOARD, MLFLOW = "tensorboard", "mlflow"
PACKAGES = {TENSORBOARD: ("tensorboard",), MLFLOW: ("mlflow", "sqlalchemy", "alembic")}
"""What each logger imports."""
_PATIENCE = {
    # MLflow asks seven times by default, and waits minutes for a server that is gone.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class Logger(Protocol):
    """Gets the numbers of every training of a run."""

    def start(self, name: str, head: Head, done: int) -> None:
        """A training starts, or resumes after ``done`` epochs. Not called for a finished one.

        Args:
            name: of the training, unique in the run and fit for a folder: "distilled-0".
            head: what is known of it.
        """

    def log(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        """An epoch has ended; the values are those of `flat`."""

    def close(self) -> None:
        """The run has ended, or failed."""


def flat(entry: Epoch) -> dict[str, float]:
    """An epoch's numbers, by names with a group before a slash, as dashboards show them."""
    known = {
        "loss/total": entry.loss,
        **{f"loss/{name}": value for name, value in entry.parts.items()},
        "validation/score": entry.score,
        "training/lr": entry.lr,
        "training/gradient_norm": entry.gradient_norm,
        "training/images_per_second": entry.images_per_second,
        **{f"seconds/{name}": value for name, value in entry.seconds.items()},
    }
    return {name: value for name, value in known.items() if value is not None}


def check(spec: str | None, search_in: Sequence[Path] = ()) -> None:
    """Makes sure that there is a logger, before any long work.

    Raises:
        MissingError: its package is not installed.
        InputError: there is no such callable.
    """
    for package in PACKAGES.get(spec or "", ()):
        if importlib.util.find_spec(package) is None:
            raise MissingError(
                f'[project] log_to = "{spec}": {package} is not installed: '
                f"pip install 'tvmkd[{spec}]'"
            )
    if spec is not None and spec not in PACKAGES:
        user_code.load(spec, f'[project] log_to "{spec}"', search_in)


def make(spec: str, folder: Path, run: str, search_in: Sequence[Path] = ()) -> Logger:
    """The logger that ``[project] log_to`` names; it never raises from then on.

    Args:
        spec: ``tensorboard``, ``mlflow`` or ``module:callable``.
        folder: of the run.
        run: its name.
        search_in: folders to look in for a ``module:callable``.

    Raises:
        MissingError, InputError: as `check`.
    """
    check(spec, search_in)
    made: Logger
    if spec == TENSORBOARD:
        made = TensorBoard(folder / TENSORBOARD)
    elif spec == MLFLOW:
        made = MLflow(folder, run)
    else:
        made = Calling(user_code.load(spec, f'[project] log_to "{spec}"', search_in))
    return Harmless(made, spec)


class Harmless:
    """A logger whose first failure is a warning and its end."""

    def __init__(self, inner: Logger, spec: str) -> None:
        self._inner: Logger | None = inner
        self._spec = spec

    def start(self, name: str, head: Head, done: int) -> None:
        """See `Logger`."""
        self._ask(lambda inner: inner.start(name, head, done))

    def log(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        self._ask(lambda inner: inner.log(name, epoch, values))

    def close(self) -> None:
        """See `Logger`."""
        self._ask(lambda inner: inner.close())

    def _ask(self, action: Callable[[Logger], None]) -> None:
        if self._inner is None:
            return
        try:
            action(self._inner)
        except Exception as error:  # a library's, a server's, a user's: of any kind
            self._inner = None
            what = first_line(error) if isinstance(error, InputError) else user_code.describe(error)
            console.warn(
                f'[project] log_to = "{self._spec}" failed ({what}): training goes on without it; '
                "training.html has the numbers"
            )


class TensorBoard:
    """Writes event files into ``tensorboard/TRAINING`` in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def start(self, name: str, head: Head, done: int) -> None:
        """Epochs that an earlier process logged after its last checkpoint are shown as gone."""
        del head
        from torch.utils.tensorboard import SummaryWriter

        place = str(self._folder / name)
        self._writers[name] = SummaryWriter(place, purge_step=done + 1)

    def log(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        """One scalar a value; the step is the epoch."""
        writer = self._writers[name]
        for key, value in values.items():
            writer.add_scalar(key, value, epoch)
        writer.flush()

    def close(self) -> None:
        """Ends the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


class MLflow:
    """One run of MLflow a training, in an experiment of the run's name.

    Where ``MLFLOW_TRACKING_URI`` is not set, they are in ``mlflow.db`` in the run's folder, and
    nothing uses the network: MLflow's telemetry is off then, too.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._name = folder, run
        self._client: Any = None
        self._runs: dict[str, str] = {}
        self._logged: dict[str, int] = {}

    def start(self, name: str, head: Head, done: int) -> None:
        """Continues the run of the same training, if there is one."""
        del done
        experiment = self._experiment()
        found = self._client.search_runs(
            [experiment],
            f"tags.`tvmkd.training` = '{head.training}' and tags.`tvmkd.name` = '{name}'",
        )
        if found:
            self._runs[name] = found[0].info.run_id
            self._client.update_run(self._runs[name], status="RUNNING")
            history = self._client.get_metric_history(self._runs[name], "loss/total")
            self._logged[name] = max((metric.step for metric in history), default=0)
            return
        tags = {"tvmkd.training": head.training, "tvmkd.name": name, "tvmkd.kind": head.kind}
        made = self._client.create_run(experiment, tags=tags, run_name=name)
        self._runs[name], self._logged[name] = made.info.run_id, 0
        for key in ("epochs", "metric", "device", "processes"):
            self._client.log_param(self._runs[name], key, getattr(head, key))

    def log(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        """Leaves out epochs that were logged before: MLflow would show them twice."""
        if epoch <= self._logged[name]:
            return
        metrics = [self._metric(metric_name(key), value, epoch) for key, value in values.items()]
        self._client.log_batch(self._runs[name], metrics=metrics)
        self._logged[name] = epoch

    def close(self) -> None:
        """Marks the runs as finished."""
        for run in self._runs.values():
            self._client.set_terminated(run)
        self._runs.clear()

    def _experiment(self) -> str:
        """The id of the experiment; connects at the first call."""
        if self._client is None:
            self._client = self._connect()
        found = self._client.get_experiment_by_name(self._name)
        if found is not None:
            return str(found.experiment_id)
        local = os.environ.get("MLFLOW_TRACKING_URI") is None
        # Otherwise MLflow makes a folder where the process was started.
        place = (self._folder / "mlartifacts").resolve().as_uri() if local else None
        return str(self._client.create_experiment(self._name, artifact_location=place))

    def _connect(self) -> Any:
        for key, value in _PATIENCE.items():
            os.environ.setdefault(key, value)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            self._folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{(self._folder / 'mlflow.db').resolve()}"
            for name in ("alembic", "mlflow.store.db.utils"):
                logging.getLogger(name).setLevel(logging.WARNING)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)

    def _metric(self, name: str, value: float, epoch: int) -> Any:
        from mlflow.entities import Metric

        return Metric(name, value, int(time.time() * 1000), epoch)


class Calling:
    """A user's function ``(training: str, epoch: int, values: dict[str, float])``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def start(self, name: str, head: Head, done: int) -> None:
        """Nothing: the function learns of a training with its first epoch."""

    def log(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        """Calls it."""
        self._function(name, epoch, dict(values))

    def close(self) -> None:
        """Nothing."""


def metric_name(name: str) -> str:
    """The name with those characters alone that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)
