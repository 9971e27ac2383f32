"""Crashes, overload and stops, with a server under load."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import Answer, Server, ask, metrics, raw_request, request, total
from running import Running, make_toy, serving
from slow import make_slow

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")


def target(running: Running, **changes: Any) -> Server:
    found = {"max_body": 2**26, "read_s": 30.0, **changes}
    return Server(running.url, "toy", reference=lambda x, y: [x + y, x * y], **found)


class Load:
    """Clients that ask one after the other, until the block ends."""

    def __init__(self, server: Server, clients: int, **content: Any) -> None:
        self.server = server
        self.statuses: Counter[int | str] = Counter()
        self.wrong: list[str] = []
        self.seconds: list[tuple[int, float]] = []
        self._stop = threading.Event()
        server.metadata()
        self._threads = [
            threading.Thread(target=self._client, args=(number, content))
            for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    def _client(self, number: int, content: dict[str, Any]) -> None:
        inputs = self.server.inputs(number)
        body, headers = request(self.server, inputs, **content)
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                answer = ask(self.server, "POST", self.server.infer, body, headers)
            except OSError as error:
                self.statuses[type(error).__name__] += 1
                time.sleep(0.01)
                continue
            except Exception as error:  # http.client's, when the server was killed
                self.statuses[type(error).__name__] += 1
                continue
            self.seconds.append((answer.status, time.monotonic() - start))
            self.statuses[answer.status] += 1
            if answer.status == 200:
                try:
                    self.server.check(inputs, answer.outputs())
                except AssertionError as error:
                    self.wrong.append(str(error))
            else:
                answer.error()

    def wait(self, enough: Callable[[], bool], seconds: float = 30) -> None:
        """Waits for a condition."""
        until = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < until, self.statuses
            time.sleep(0.01)


def instances(running: Running) -> list[int]:
    pid = running.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in children.split()]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes about 20 ms."""
    return make_slow(tmp_path_factory.mktemp("slow") / "toy")


def test_a_killed_instance_costs_its_own_request_only(slow: Path) -> None:
    with serving(slow, "--instances", "2", "--no-grpc", "--threads", "1") as running:
        server = target(running)
        with Load(server, 4) as load:
            for kills in range(1, 4):
                before = load.statuses[200]
                load.wait(lambda before=before: load.statuses[200] > before + 5)
                os.kill(instances(running)[0], signal.SIGKILL)
                load.wait(
                    lambda kills=kills: total(
                        metrics(server), "tvmkd_instance_restarts_total", model="toy"
                    ) == kills
                )  # fmt: skip
                load.wait(lambda: total(metrics(server), "tvmkd_instances", model="toy") == 2)
        assert load.wrong == []
        assert set(load.statuses) <= {200, 500}
        assert load.statuses[500] <= 3
        crashed = total(metrics(server), "tvmkd_inference_errors_total", kind="crashed")
        assert crashed == load.statuses[500]
    assert "ended by signal 9; it is started again" in " ".join("".join(running.errors).split())


def test_the_only_instance_is_killed_while_it_computes(slow: Path) -> None:
    with serving(slow, "--no-grpc") as running:
        server = target(running)
        answers: list[Answer] = []
        body, headers = request(server, server.inputs())
        threads = [
            threading.Thread(
                target=lambda: answers.append(ask(server, "POST", server.infer, body, headers))
            )
            for _ in range(3)
        ]
        (instance,) = instances(running)
        os.kill(instance, signal.SIGSTOP)  # so that it is killed with a request in hand
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        os.kill(instance, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        # Those that waited are answered by its successor.
        assert sorted(answer.status for answer in answers) == [200, 200, 500]
        (failed,) = (answer for answer in answers if answer.status == 500)
        assert "the instance crashed (it was ended by signal 9)" in failed.error()


def test_instances_end_with_a_killed_server(slow: Path) -> None:
    with serving(slow, "--instances", "2", "--no-grpc", code=None) as running:
        pids = instances(running)
        with Load(target(running), 3) as load:
            load.wait(lambda: load.statuses[200] > 3)
            running.process.kill()
            running.process.wait(10)
            until = time.monotonic() + 10
            while alive := [pid for pid in pids if _runs(pid)]:
                assert time.monotonic() < until, f"{alive} are left"
                time.sleep(0.02)
        assert load.wrong == []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_finishes_what_was_accepted(slow: Path, number: signal.Signals) -> None:
    with serving(slow, "--no-grpc", code=None) as running:
        server = target(running)
        body, headers = request(server, server.inputs())
        answers: list[Answer] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(ask(server, "POST", server.infer, body, headers))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 10
        while total(metrics(server), "tvmkd_inference_requests_total", model="toy") < 8:
            assert time.monotonic() < until
        if number == signal.SIGHUP:  # a closed terminal tells the whole group
            pid = running.process.pid
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(child), number)
        running.end(number)
        for thread in threads:
            thread.join(60)
        assert [answer.status for answer in answers] == [200] * 8
        for answer in answers:
            server.check(server.inputs(), answer.outputs())
        with pytest.raises(OSError, match="refused"):
            ask(server, "GET", "/v2/health/live")


def test_overload_refuses_at_once_and_keeps_deadlines(slow: Path) -> None:
    with serving(slow, "--no-grpc", "--threads", "1", "--queue", "100") as running:
        server = target(running)
        deadline = 0.4
        with Load(server, 40, parameters={"timeout": int(1e6 * deadline)}) as load:
            load.wait(lambda: load.statuses[200] >= 40 and load.statuses[503] >= 40)
        assert set(load.statuses) == {200, 503}
        assert load.wrong == []
        after = metrics(server)
        assert total(after, "tvmkd_inference_queue_length", model="toy") == 0
        late = total(after, "tvmkd_inference_errors_total", model="toy", kind="late")
        expired = total(after, "tvmkd_inference_errors_total", model="toy", kind="expired")
        assert late + expired == load.statuses[503]
        assert expired <= 0.1 * late
        accepted = sorted(seconds for status, seconds in load.seconds if status == 200)
        # This client has 40 threads, and adds time of its own.
        assert accepted[int(0.9 * len(accepted))] < deadline + 0.2


def test_a_full_queue_refuses(slow: Path) -> None:
    with serving(slow, "--no-grpc", "--queue", "2") as running:
        server = target(running)
        with Load(server, 8) as load:
            load.wait(lambda: load.statuses[200] >= 10 and load.statuses[503] >= 10)
        full = total(metrics(server), "tvmkd_inference_errors_total", kind="queue_full")
        assert full == load.statuses[503]


def test_what_waits_is_given_up_at_its_deadline(slow: Path) -> None:
    with serving(slow, "--no-grpc") as running:
        server = target(running)
        body, headers = request(server, server.inputs())
        assert ask(server, "POST", server.infer, body, headers).status == 200
        (instance,) = instances(running)
        os.kill(instance, signal.SIGSTOP)  # it hangs, which no estimate knows
        try:
            first = threading.Thread(
                target=lambda: ask(server, "POST", server.infer, body, headers)
            )
            first.start()
            time.sleep(0.2)
            body, headers = request(server, server.inputs(), parameters={"timeout": 500_000})
            start = time.monotonic()
            answer = ask(server, "POST", server.infer, body, headers)
            took = time.monotonic() - start
        finally:
            os.kill(instance, signal.SIGCONT)
        first.join(30)
        assert answer.status == 503
        assert "the deadline passed before an instance was free" in answer.error()
        assert 0.4 < took < 2
        assert total(metrics(server), "tvmkd_inference_deadline_misses_total") == 1


def test_nothing_is_computed_for_a_client_that_has_gone(slow: Path) -> None:
    with serving(slow, "--no-grpc") as running:
        server = target(running)
        body, headers = request(server, server.inputs())
        assert ask(server, "POST", server.infer, body, headers).status == 200
        (instance,) = instances(running)
        os.kill(instance, signal.SIGSTOP)
        try:
            first = threading.Thread(
                target=lambda: ask(server, "POST", server.infer, body, headers)
            )
            first.start()
            wait_for(server, "tvmkd_inference_requests_total", 2)
            with socket.create_connection(server.address) as line:
                line.sendall(raw_request(server, body, headers))
                wait_for(server, "tvmkd_inference_queue_length", 1)
        finally:
            os.kill(instance, signal.SIGCONT)
        first.join(30)
        assert ask(server, "POST", server.infer, body, headers).status == 200
        after = metrics(server)
        gone = total(after, "tvmkd_inference_errors_total", model="toy", kind="slow_client")
        assert gone == 1
        count = "tvmkd_inference_duration_seconds_count"
        assert total(after, count, model="toy", stage="compute") == 3


def test_what_is_no_http_is_answered_and_not_logged(slow: Path) -> None:
    with serving(slow, "--no-grpc") as running:
        with socket.create_connection(target(running).address, timeout=20) as line:
            line.sendall(b"\0\1\2\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 400 ")
        time.sleep(0.2)  # what was written is read by a thread
        assert "Invalid HTTP" not in "".join(running.errors)


def wait_for(server: Server, name: str, value: float) -> None:
    until = time.monotonic() + 20
    while total(metrics(server), name, model="toy") < value:
        assert time.monotonic() < until, name


def test_the_timeout_of_the_command_counts_for_requests_that_say_none(slow: Path) -> None:
    with serving(slow, "--no-grpc", "--timeout", "0.001") as running:
        server = target(running)
        body, headers = request(server, server.inputs())
        for _ in range(2):
            assert ask(server, "POST", server.infer, body, headers).status == 503


def test_an_instance_that_cannot_start_again_makes_the_model_unready(
    toy_library: Path, tmp_path: Path
) -> None:
    folder = make_toy(tmp_path / "toy", toy_library)
    with serving(folder, "--no-grpc") as running:
        server = target(running)
        (folder / "model.so").unlink()
        os.kill(instances(running)[0], signal.SIGKILL)
        until = time.monotonic() + 20
        while ask(server, "GET", "/v2/health/ready").status == 200:
            assert time.monotonic() < until
        (row,) = ask(server, "POST", "/v2/repository/index").json()
        assert row["state"] == "UNAVAILABLE"
        body, headers = request(server, server.inputs(), parameters={"timeout": 100_000})
        assert ask(server, "POST", server.infer, body, headers).status == 503
        # Once the file is there again, so is the model.
        shutil.copy(toy_library, folder / "model.so")
        assert ask(server, "POST", "/v2/repository/models/toy/load").status == 200
        body, headers = request(server, server.inputs())
        assert ask(server, "POST", server.infer, body, headers).status == 200


@contextlib.contextmanager
def repository(tmp_path: Path, toy_library: Path) -> Iterator[tuple[Running, Path]]:
    """A server of a folder of models: ``toy`` with the versions 1.9 and 1.10, and ``plain``."""
    models = tmp_path / "models"
    for version in ("1.9", "1.10"):
        make_toy(models / "toy" / version, toy_library)
    make_toy(models / "plain", toy_library)
    with serving(models, "--no-grpc") as running:
        yield running, models


def test_versions(tmp_path: Path, toy_library: Path) -> None:
    with repository(tmp_path, toy_library) as (running, models):
        server = target(running)
        assert server.metadata()["versions"] == ["1.10"]
        index = ask(server, "POST", "/v2/repository/index").json()
        rows = {(row["name"], row["version"]): row["state"] for row in index}
        assert rows == {
            ("plain", "1"): "READY", ("toy", "1.9"): "UNAVAILABLE", ("toy", "1.10"): "READY",
        }  # fmt: skip
        ready = ask(server, "POST", "/v2/repository/index", b'{"ready": true}').json()
        assert len(ready) == 2

        def load(policy: object) -> Answer:
            config = json.dumps({"version_policy": policy})
            content = json.dumps({"parameters": {"config": config}}).encode()
            return ask(server, "POST", "/v2/repository/models/toy/load", content)

        def versions() -> list[str]:
            return ask(server, "GET", "/v2/models/toy").json()["versions"]

        assert load({"specific": {"versions": ["1.9"]}}).status == 200
        assert versions() == ["1.9"]
        assert load({"all": {}}).status == 200
        assert versions() == ["1.9", "1.10"]
        body, headers = request(server, server.inputs())
        for version in ("1.9", "1.10"):
            path = f"/v2/models/toy/versions/{version}/infer"
            assert ask(server, "POST", path, body, headers).status == 200
        make_toy(models / "toy" / "2.0rc1", toy_library)
        make_toy(models / "toy" / "2.0", toy_library)
        assert load({"latest": {"num_versions": 2}}).status == 200
        assert versions() == ["2.0rc1", "2.0"]
        for wrong in ({"specific": {"versions": ["7"]}}, {"newest": {}}, [], {"latest": 3}):
            answer = load(wrong)
            assert answer.status == 400
            answer.error()
        assert versions() == ["2.0rc1", "2.0"]
        unload = "/v2/repository/models/toy/unload"
        assert ask(server, "POST", unload).status == 200
        assert ask(server, "POST", server.infer, body, headers).status == 404
        assert ask(server, "GET", "/v2/models/toy/ready").status == 404
        assert ask(server, "GET", "/v2/health/ready").status == 200
        assert ask(server, "POST", "/v2/repository/models/nobody/load").status == 404


def test_a_load_swaps_while_requests_run(slow: Path, tmp_path: Path) -> None:
    with serving(slow, "--no-grpc", "--instances", "2") as running:
        server = target(running)
        with Load(server, 4) as load:
            for _ in range(3):
                before = load.statuses[200]
                load.wait(lambda before=before: load.statuses[200] > before + 3)
                answer = ask(server, "POST", "/v2/repository/models/toy/load")
                assert answer.status == 200
        assert load.wrong == []
        assert set(load.statuses) == {200}
        until = time.monotonic() + 20
        while len(instances(running)) != 2:  # the old ones have ended
            assert time.monotonic() < until
            time.sleep(0.05)
        count = total(metrics(server), "tvmkd_inference_requests_total", model="toy")
        assert count == load.statuses[200], "counters do not go back"


def test_a_load_that_fails_keeps_what_was_there(toy_library: Path, tmp_path: Path) -> None:
    folder = make_toy(tmp_path / "toy", toy_library)
    with serving(folder, "--no-grpc") as running:
        server = target(running)
        library = (folder / "model.so").read_bytes()
        (folder / "model.so").write_bytes(library[:-1] + b"!")
        answer = ask(server, "POST", "/v2/repository/models/toy/load")
        assert answer.status in (400, 500)
        assert "SHA-256" in answer.error()
        inputs = server.inputs()
        found = ask(server, "POST", server.infer, *request(server, inputs)).outputs()
        np.testing.assert_allclose(found["out_x"], inputs[0] + inputs[1])
