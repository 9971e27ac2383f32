"""The instance's side, in this process: an artifact that is not there on a channel that is."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_models import MOST, layout, manifest, spec

from tvmkd import artifact
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.deploy.serving import instance
from tvmkd.deploy.serving.channel import Channel

SECONDS = 20_000_000_000
PAIR = [spec("x"), spec("y")]
SUMS = [spec("sum"), spec("product")]
ROWS = [spec("x", ("n", 4))]


class FakeArtifact:
    """(x, y) -> (x + y, x * y); or one input doubled."""

    def __init__(self, found: Any) -> None:
        self.manifest, self.runs = found, 0
        self.error: Exception | None = None

    def run(self, inputs: list[Any]) -> list[Any]:
        self.runs += 1
        if self.error is not None:
            raise self.error
        if len(inputs) == 1:
            return [np.concatenate([inputs[0], inputs[0]])]
        return [inputs[0] + inputs[1], inputs[0] * inputs[1]]


class Ends:
    """An instance over a channel, and the server's end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, inputs: Any, outputs: Any) -> None:
        self.manifest = manifest(inputs, outputs)
        self.artifact = FakeArtifact(self.manifest)
        self.server = Channel(layout(inputs, outputs))
        self.ours, self.theirs = socket.socketpair()
        self.monkeypatch = monkeypatch
        self.signals: dict[signal.Signals, Any] = {}
        monkeypatch.setattr(artifact, "load", lambda folder: self.artifact)

    def given(self, **changes: Any) -> dict[str, Any]:
        return {
            "channel": [os.dup(each) for each in self.server.descriptors],
            "control": self.theirs.fileno(),
            "folder": "somewhere",
            "manifest": self.manifest.model_dump(mode="json"),
            "most": MOST,
            "cpus": [],
            "spin_us": 0,
            **changes,
        }

    def main(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Runs `instance.main` as if in a process of its own; its exit code and what it told."""
        self.monkeypatch.setattr(instance, "die_with_parent", lambda: None)
        self.monkeypatch.setattr(instance.signal, "signal", self.signals.__setitem__)
        given = self.given(**changes)
        self.theirs.detach()
        code = instance.main(json.dumps(given))
        told = self.ours.recv(65536)
        assert told.endswith(b"\n")
        return code, json.loads(told)

    def call(self, inputs: list[Any]) -> tuple[list[np.ndarray], str | None]:
        self.server.ask([each.tobytes() for each in inputs], [each.shape for each in inputs])
        assert self.server.answers_within(SECONDS)
        os.eventfd_read(self.server.answered)
        begun, ended, written, error = self.server.answer()
        assert begun <= ended <= written
        if error is not None:
            return [], error
        data, shapes = self.server.outputs()
        pairs = zip(data, shapes, strict=True)
        return [np.frombuffer(each, np.float32).reshape(shape) for each, shape in pairs], None


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes both ends."""
    made: list[Ends] = []

    def make(inputs: Any = PAIR, outputs: Any = SUMS) -> Ends:
        made.append(Ends(monkeypatch, inputs, outputs))
        return made[-1]

    yield make
    for each in made:
        each.ours.close()
        each.theirs.close()
        each.server.close()


class Serving:
    """A program that serves in a thread, until the block ends."""

    def __init__(self, both: Ends) -> None:
        self.both = both
        self.program = instance.Program(both.given())

    def __enter__(self) -> instance.Program:
        control = self.both.theirs.fileno()
        self.thread = threading.Thread(target=self.program.serve, args=(control, 0))
        self.thread.start()
        return self.program

    def __exit__(self, *_: object) -> None:
        self.both.ours.close()
        self.thread.join(20)
        assert not self.thread.is_alive(), "the server has gone, and so should it"


def test_calls(ends: Any) -> None:
    both = ends()
    rng = np.random.default_rng(0)
    with Serving(both):
        for _ in range(5):
            x, y = rng.standard_normal((2, 1, 4)).astype(np.float32)
            (total, product), error = both.call([x, y])
            assert error is None
            np.testing.assert_array_equal(total, x + y)
            np.testing.assert_array_equal(product, x * y)


def test_free_dimensions(ends: Any) -> None:
    both = ends(ROWS, [spec("y", ("m", 4))])
    with Serving(both) as program:
        for rows in (1, 20, 3):
            x = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
            (found,), error = both.call([x])
            assert error is None
            np.testing.assert_array_equal(found, np.concatenate([x, x]))
        # Its output does not fit into the memory; the next one does.
        found, error = both.call([np.zeros((200, 4), np.float32)])
        assert error == "the tensors are larger than --max-body allows"
        (found,), error = both.call([np.ones((1, 4), np.float32)])
        assert (found.shape, error) == ((2, 4), None)
        program.warm()
        assert both.artifact.runs == 5, "which sizes fit is not known"


def test_an_error_costs_one_request_only(ends: Any) -> None:
    both = ends()
    x = np.ones((1, 4), np.float32)
    with Serving(both):
        both.artifact.error = RuntimeError("Traceback:\n  deep inside\nout of memory")
        assert both.call([x, x]) == ([], "the model failed: out of memory")
        both.artifact.error = None
        assert both.call([x, x])[0][0].tolist() == [[2] * 4]


def test_a_warm_run_is_timed(ends: Any) -> None:
    both = ends()
    program = instance.Program(both.given())
    assert program.run_ns == 0
    program.warm()
    assert both.artifact.runs == instance.WARM_RUNS
    assert program.run_ns > 0


def test_an_artifact_that_was_replaced_meanwhile(ends: Any) -> None:
    both = ends()
    both.artifact.manifest = both.manifest.model_copy(update={"created": "2027"})
    with pytest.raises(TvmkdError, match="somewhere: was replaced"):
        instance.Program(both.given())


def test_the_process_says_that_it_is_ready_and_ends_with_the_server(ends: Any) -> None:
    both = ends()
    both.ours.shutdown(socket.SHUT_WR)  # the server is about to end
    pinned: list[Any] = []
    both.monkeypatch.setattr(instance.os, "sched_setaffinity", lambda *given: pinned.append(given))
    code, told = both.main(cpus=[1, 3])
    assert code == 0
    assert told["ready"] is True
    assert told["run_ns"] > 0
    assert pinned == [(0, [1, 3])]
    # A signal to the whole group is the server's business.
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    wanted = dict.fromkeys(ignored, signal.SIG_IGN)
    assert both.signals == wanted


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("toy: not an artifact"), "toy: not an artifact"),
        (OSError("no memory"), "no memory"),
        (ZeroDivisionError("inside a library"), "ZeroDivisionError: inside a library"),
    ],
)
def test_a_start_that_fails_is_told(ends: Any, error: Exception, text: str) -> None:
    def load(folder: Path) -> None:
        raise error

    both = ends()
    both.monkeypatch.setattr(artifact, "load", load)
    assert both.main() == (1, {"error": text})


def test_a_model_that_fails_when_it_is_warmed_is_told(ends: Any) -> None:
    both = ends()
    both.artifact.error = ValueError("needs a GPU")
    assert both.main() == (1, {"error": "ValueError: needs a GPU"})


def test_half_precision_of_both_kinds() -> None:
    from fake_models import tensor

    pytest.importorskip("ml_dtypes")
    assert instance._dtype(tensor("x", dtype="float16")) == np.float16
    found = instance._dtype(tensor("x", dtype="bfloat16"))
    assert (found.name, found.itemsize) == ("bfloat16", 2)
