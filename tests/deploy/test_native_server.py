"""``tvmkd-server``: the tests that every server of tvmkd must pass, and its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_nano
import numpy as np
import pytest
import sample_library
from conformance import (
    Answer,
    Conformance,
    Server,
    ask,
    metrics,
    raw_request,
    read_answer,
    request,
    total,
)
from native_server import Running, running

from tvmkd import targets
from tvmkd.boards import emulate
from tvmkd.deploy import native_programs

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def host() -> targets.Target:
    return targets.load("host")


@pytest.fixture(scope="module")
def library(host: targets.Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_library.shared(host, tmp_path_factory.mktemp("sample") / "libsample.so")


@pytest.fixture(scope="module")
def program(host: targets.Target) -> Path:
    return native_programs.server_program(host)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


LIMITS = ["--max-body", "1", "--read-timeout", "2"]


class TestDynamic(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, program: Path, library: Path, token: Path) -> Iterator[Server]:
        with running(program, library, *LIMITS, "--token-file", token) as found:
            yield found.server(token=TOKEN)


class TestStatic(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def server(
        cls, host: targets.Target, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Server]:
        archive = tmp_path_factory.mktemp("static") / "libsample.a"
        sample_library.archive(host, archive)
        with running(native_programs.server_program(host, archive=archive), *LIMITS) as found:
            yield found.server()


@pytest.mark.board
class TestBoard(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
        if emulate.why_not() is not None:
            pytest.skip(str(emulate.why_not()))
        nano = targets.load("jetson-nano")
        library = sample_library.shared(nano, tmp_path_factory.mktemp("nano") / "libsample.so")
        words = [*sample_library.runner(nano), native_programs.server_program(nano), library]
        with running(*words, *LIMITS) as found:
            yield found.server()


# Its own tests: models, faults, limits.


def infer(server: Server, *x: float, timeout_us: int = 0, binary: bool = True) -> Answer:
    """One inference with these values of x."""
    values = [np.array([x], np.float32), np.array([1, 2, 3], np.int64)]
    more = {"parameters": {"timeout": timeout_us}} if timeout_us else {}
    body, headers = request(server, values, binary_in=binary, **more)
    return ask(server, "POST", server.infer, body, headers)


def post(server: Server, path: str, content: Any = None) -> Answer:
    body = b"" if content is None else json.dumps(content).encode()
    return ask(server, "POST", path, body)


@pytest.fixture
def plain(program: Path, library: Path) -> Iterator[Running]:
    """A server with one instance."""
    with running(program, library) as found:
        yield found


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_crash_costs_only_its_own_request(plain: Running) -> None:
    server = plain.server()
    answer = infer(server, 1003, 0, 0, 0)
    assert answer.status == 500
    assert "the instance crashed (it was ended by signal 11)" in answer.error()
    assert infer(server, 1, 2, 3, 4).outputs()["y"].tolist() == [[3, 5, 7, 9]]
    answer = infer(server, 1005, 0, 0, 0)
    assert "it ended with exit code 3" in answer.error()
    assert infer(server, 1, 2, 3, 4).status == 200
    found = metrics(server)
    assert total(found, "tvmkd_instance_restarts_total") == 2
    assert total(found, "tvmkd_inference_errors_total", kind="crashed") == 2
    until(lambda: sum("is started again" in line for line in plain.errors) == 2)


def test_an_instance_that_is_killed_under_load(program: Path, library: Path) -> None:
    with running(program, library, "--instances", "2") as found:
        server, statuses = found.server(), []
        server.metadata()
        done = threading.Event()

        def client() -> None:
            while not done.is_set():
                answer = infer(server, 1001, 2, 0, 0)
                statuses.append(answer.status)
                if answer.status != 200:
                    assert "crashed" in answer.error()

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            time.sleep(0.1)
            for pid in found.instances()[:1]:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
        done.set()
        for thread in threads:
            thread.join()
        assert 1 <= statuses.count(500) <= 5
        assert statuses.count(200) > 50
        assert set(statuses) == {200, 500}
        assert infer(server, 1, 2, 3, 4).status == 200


def test_the_server_is_killed_and_leaves_no_instance(program: Path, library: Path) -> None:
    with running(program, library, "--instances", "2", code=None) as found:
        assert infer(found.server(), 1, 2, 3, 4).status == 200
        pids = found.instances()
        assert len(pids) == 2
        port = found.facts["http_port"]
        found.process.kill()
        found.process.wait()
        until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))
    # The same port can be had at once.
    command = [program, library, "--http-port", port, "--json"]
    again = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    try:
        assert again.stdout is not None
        assert json.loads(again.stdout.readline())["http_port"] == port
    finally:
        again.terminate()
        assert again.wait(20) == 0


def test_a_run_that_fails_says_why(plain: Running) -> None:
    answer = infer(plain.server(), 1002, 0, 0, 0)
    assert answer.status == 500
    assert answer.error() == "model 'sample' version '1': kernel 7 was asked to fail"
    assert infer(plain.server(), 1, 2, 3, 4).status == 200


def test_a_run_that_hangs_is_ended(program: Path, library: Path) -> None:
    with running(program, library, "--hang", "0.3") as found:
        answer = infer(found.server(), 1004, 0, 0, 0)
        assert answer.status == 500
        assert "it hung and was killed" in answer.error()
        assert infer(found.server(), 1, 2, 3, 4).status == 200


def test_overload_is_refused_at_once(program: Path, library: Path) -> None:
    """Twice the load that it can carry: what is accepted is on time, the rest is refused fast."""
    budget_ms, run_ms = 60.0, 10.0
    with running(program, library, "--timeout", budget_ms) as found:
        server = found.server()
        for _ in range(5):
            assert infer(server, 1001, run_ms, 0, 0, timeout_us=1000000).status == 200
        results: list[tuple[int, float]] = []

        def client(number: int) -> None:
            time.sleep(number * 0.005)
            start = time.monotonic()
            answer = infer(server, 1001, run_ms, 0, 0)
            results.append((answer.status, 1e3 * (time.monotonic() - start)))
            if answer.status == 503:
                assert int(answer.headers["retry-after"]) >= 1

        threads = [threading.Thread(target=client, args=(number,)) for number in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    accepted = [ms for status, ms in results if status == 200]
    refused = sorted(ms for status, ms in results if status == 503)
    assert len(accepted) + len(refused) == 60
    assert len(accepted) >= 15
    assert len(refused) >= 10
    # These times are the clients', on a busy machine, in threads of one Python.
    assert np.median(refused) < 20
    assert np.percentile(accepted, 90) < budget_ms + 20


def test_a_full_queue(program: Path, library: Path) -> None:
    with running(program, library, "--queue", "1") as found:
        server = found.server()
        server.metadata()
        threads = [threading.Thread(target=infer, args=(server, 1001, 500, 0, 0)) for _ in range(2)]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        answer = infer(server, 1, 2, 3, 4)
        assert answer.status == 503
        assert "the queue is full (1 requests)" in answer.error()
        for thread in threads:
            thread.join()
        assert infer(server, 1, 2, 3, 4).status == 200


def test_a_deadline_that_passes_while_waiting(plain: Running) -> None:
    server = plain.server()
    infer(server, 1, 2, 3, 4)
    slow = threading.Thread(target=infer, args=(server, 1001, 600, 0, 0))
    slow.start()
    time.sleep(0.1)
    start = time.monotonic()
    answer = infer(server, 1, 2, 3, 4, timeout_us=150_000)
    assert answer.status == 503
    assert "the deadline passed before an instance was free" in answer.error()
    assert 0.1 < time.monotonic() - start < 0.4
    slow.join()
    assert total(metrics(server), "tvmkd_inference_deadline_misses_total") == 1


def test_a_client_that_goes_away_while_it_waits(plain: Running) -> None:
    server = plain.server()
    server.metadata()
    slow = threading.Thread(target=infer, args=(server, 1001, 300, 0, 0))
    slow.start()
    time.sleep(0.1)
    body, headers = request(server, [np.zeros((1, 4), np.float32), np.zeros(3, np.int64)])
    for _ in range(3):
        line = http.client.HTTPConnection(*server.address)
        line.request("POST", server.infer, body, headers)
        until(lambda: total(metrics(server), "tvmkd_inference_queue_length") == 1)
        line.close()
        until(lambda: total(metrics(server), "tvmkd_inference_queue_length") == 0)
    slow.join()
    assert infer(server, 1, 2, 3, 4).status == 200


def test_sigterm_finishes_what_was_accepted(program: Path, library: Path) -> None:
    with running(program, library) as found:
        server, answers = found.server(), []
        server.metadata()
        slow = threading.Thread(target=lambda: answers.append(infer(server, 1001, 400, 0, 0)))
        slow.start()
        time.sleep(0.1)
        start = time.monotonic()
        for each in found.instances():  # as a service manager that stops the whole group
            os.kill(each, signal.SIGTERM)
        found.process.terminate()
        assert found.process.wait(20) == 0
        assert time.monotonic() - start < 2
        slow.join()
        assert answers[0].status == 200


def test_a_request_half_sent_when_the_server_stops(program: Path, library: Path) -> None:
    """Its model has gone when the rest comes: that is no mistake of the client's."""
    with running(program, library) as found:
        server = found.server()
        body, headers = request(server, server.inputs())
        raw = raw_request(server, body, headers)
        with socket.create_connection(server.address, timeout=20) as line:
            line.sendall(raw[:-5])
            time.sleep(0.2)
            found.process.terminate()
            time.sleep(0.3)
            line.sendall(raw[-5:])
            answer = read_answer(line)
            assert answer.status == 503
            assert "stopped" in answer.error()
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["connection"] == "close"
        assert found.process.wait(20) == 0


def test_early_exits_keep_a_deadline(host: targets.Target, program: Path, tmp_path: Path) -> None:
    library = sample_library.shared(host, tmp_path / "libsample.so", "-DSAMPLE_EXITS")
    with running(program, library) as found:
        for timeout_us in (0, 10_000_000):
            answer = infer(found.server(), 1, 2, 3, 4, timeout_us=timeout_us)
            assert answer.json()["parameters"] == {"exit": 1}
            assert answer.outputs()["y"].tolist() == [[3, 5, 7, 9]]


# Models that are loaded, replaced and unloaded.


@pytest.fixture
def versions(host: targets.Target, tmp_path: Path) -> Path:
    """A folder with versions 1 and 2 of a model, which add 1 and 2."""
    for number in (1, 2):
        folder = tmp_path / "adder" / str(number)
        folder.mkdir(parents=True)
        sample_library.shared(host, folder / "libadder.so", f"-DSAMPLE_VERSION={number}")
    return tmp_path / "adder"


def added(server: Server, version: str = "") -> float:
    """What the version adds; -1: it is not there."""
    values = [np.zeros((1, 4), np.float32), np.zeros(3, np.int64)]
    body, headers = request(server, values)
    path = f"/v2/models/{server.model}/versions/{version}/infer" if version else server.infer
    answer = ask(server, "POST", path, body, headers)
    return float(answer.outputs()["y"][0, 0]) if answer.status == 200 else -1


def test_versions_and_policies(program: Path, versions: Path) -> None:
    load = "/v2/repository/models/adder/load"

    def policy(text: Any) -> dict[str, Any]:
        return {"parameters": {"config": json.dumps({"version_policy": text})}}

    with running(program, versions) as found:
        server = found.server(model="adder")
        assert server.metadata()["versions"] == ["2"]
        assert [added(server), added(server, "2"), added(server, "1")] == [2, 2, -1]
        rows = post(server, "/v2/repository/index").json()
        assert [(row["version"], row["state"]) for row in rows] == [
            ("1", "UNAVAILABLE"),
            ("2", "READY"),
        ]
        assert len(post(server, "/v2/repository/index", {"ready": True}).json()) == 1
        assert post(server, load, policy({"all": {}})).status == 200
        assert [added(server), added(server, "2"), added(server, "1")] == [2, 2, 1]
        assert post(server, load, policy({"specific": {"versions": [1]}})).status == 200
        assert [added(server), added(server, "2")] == [1, -1]
        for wrong in (
            {"specific": {"versions": ["7"]}},
            {"some": {}},
            {"latest": {"num_versions": 0}},
        ):
            assert post(server, load, policy(wrong)).status == 400
        assert post(server, load, {"parameters": {"config": "x"}}).status == 400
        assert post(server, load, {"parameters": {"other": "x"}}).status == 400
        assert added(server) == 1
        assert post(server, "/v2/repository/models/adder/unload").status == 200
        assert added(server) == -1
        assert post(server, "/v2/repository/models/nobody/load").status == 404
        assert post(server, load).status == 200
        assert added(server) == 2


def test_a_model_is_replaced_while_requests_run(
    host: targets.Target, program: Path, versions: Path
) -> None:
    """SIGHUP loads what lies there now; no request is lost."""
    with running(program, versions) as found:
        server = found.server(model="adder")
        server.metadata()
        seen, done = [], threading.Event()

        def client() -> None:
            while not done.is_set():
                seen.append(added(server))

        threads = [threading.Thread(target=client) for _ in range(3)]
        for thread in threads:
            thread.start()
        new = versions / "3"
        new.mkdir()
        sample_library.shared(host, new / "libadder.so", "-DSAMPLE_VERSION=3")
        found.process.send_signal(signal.SIGHUP)
        until(lambda: added(server) == 3)
        done.set()
        for thread in threads:
            thread.join()
        assert set(seen) <= {2, 3}
        assert 3 in seen


def test_a_load_that_fails_keeps_what_was_loaded(
    host: targets.Target, program: Path, versions: Path
) -> None:
    with running(program, versions) as found:
        server = found.server(model="adder")
        (versions / "3").mkdir()
        (versions / "3/libadder.so").write_text("no library")
        answer = post(server, "/v2/repository/models/adder/load")
        assert answer.status == 400
        assert "3/libadder.so: not a shared library" in answer.error()
        assert added(server) == 2
        rows = {row["version"]: row for row in post(server, "/v2/repository/index").json()}
        assert "not a shared library" in rows["3"]["reason"]


def test_names(program: Path, versions: Path, library: Path) -> None:
    models = versions.parent / "models"
    shutil.copytree(versions, models / "adder")
    (models / "plain").mkdir()
    shutil.copy(library, models / "plain/libsample.so")
    with running(program, models, library) as found:
        assert sorted(found.facts["models"]) == ["adder", "plain", "sample"]
        assert added(found.server(model="adder")) == 2
        assert added(found.server(model="plain")) == 1
    with running(program, library, "--name", "b.2") as found:
        assert found.facts["models"] == ["b.2"]
    shutil.rmtree(models / "plain")
    assert "--name cannot name it" in refused(program, models, "--name", "x", code=2)


def refused(program: Path, *options: object, code: int) -> str:
    """The one line with which it ends."""
    command = [str(program), *map(str, options), "--http-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_what_cannot_be_served(
    host: targets.Target, program: Path, library: Path, versions: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert "give a library or a folder" in refused(program, code=2)
    assert "No such file" in refused(program, tmp_path / "none.so", code=4)
    (tmp_path / "empty").mkdir()
    assert "holds no lib*.so" in refused(program, tmp_path / "empty", code=4)
    bad = sample_library.shared(host, tmp_path / "libbad.so", "-DSAMPLE_BAD")
    assert "describes an input or an output that cannot be" in refused(program, bad, code=4)
    assert "both called 'sample'" in refused(program, library, library, code=2)
    assert "cannot be part of a URL" in refused(program, library, "--name", "a/b", code=2)
    assert "2 names for 1 paths" in refused(program, library, "--name=a", "--name=b", code=2)
    assert "--queue -1: wants" in refused(program, library, "--queue", "-1", code=2)
    monkeypatch.setenv("SAMPLE_REFUSES", "1")
    assert "cannot be opened: this CPU lacks" in refused(program, library, code=4)


def test_the_token_file(program: Path, library: Path, tmp_path: Path) -> None:
    short = tmp_path / "token"
    short.write_text("short\n")
    assert "expected one word of at least 16" in refused(
        program, library, "--token-file", short, code=4
    )
    short.write_text("two words-that-are-long-enough")
    assert "expected one word" in refused(program, library, "--token-file", short, code=4)
    assert "No such file" in refused(program, library, "--token-file", tmp_path / "no", code=4)


def test_a_port_that_is_taken(program: Path, library: Path, plain: Running) -> None:
    command = [str(program), str(library), "--http-port", str(plain.facts["http_port"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert "Address already in use; give another --http-port" in done.stderr


def test_health_for_containers(program: Path, plain: Running) -> None:
    command = [str(program), "--health", "--http-port", str(plain.facts["http_port"])]
    assert subprocess.run(command).returncode == 0
    plain.process.terminate()
    plain.process.wait(20)
    assert subprocess.run(command, stderr=subprocess.PIPE).returncode == 1


def test_model_control_can_be_off(program: Path, library: Path) -> None:
    with running(program, library, "--no-model-control") as found:
        answer = post(found.server(), "/v2/repository/models/sample/unload")
        assert answer.status == 403
        assert infer(found.server(), 1, 2, 3, 4).status == 200


def test_pages_of_other_sites_are_refused(plain: Running) -> None:
    server = plain.server()
    port = plain.facts["http_port"]
    same = {"Origin": f"http://127.0.0.1:{port}", "Host": f"127.0.0.1:{port}"}
    other = {"Origin": "http://evil.example", "Host": f"127.0.0.1:{port}"}
    bound = {"Origin": f"http://evil.example:{port}", "Host": f"evil.example:{port}"}
    for headers, status in ((same, 200), (other, 403), (bound, 403)):
        assert ask(server, "GET", "/v2", headers=headers).status == status


def test_all_bodies_together_have_a_limit(program: Path, library: Path) -> None:
    options = ["--max-body", "8", "--max-memory", "10"]
    with running(program, library, *options) as found:
        server = found.server()
        lines = []
        statuses = []
        for _ in range(4):
            line = socket.create_connection(server.address, timeout=20)
            head = f"POST {server.infer} HTTP/1.1\r\nHost: localhost\r\n"
            line.sendall(f"{head}Content-Length: {8 << 20}\r\n\r\n".encode())
            with contextlib.suppress(OSError):
                line.sendall(b" " * ((8 << 20) - 1))
            lines.append(line)
        for line in lines:
            line.settimeout(0.5)
            with contextlib.suppress(TimeoutError, OSError):
                statuses.append(line.recv(12)[9:])
            line.close()
        assert statuses.count(b"503") >= 2
        until(lambda: infer(server, 1, 2, 3, 4).status == 200)


def test_too_many_connections(program: Path, library: Path) -> None:
    with running(program, library, "--connections", "3") as found:
        server = found.server()
        lines = [socket.create_connection(server.address, timeout=20) for _ in range(4)]
        answer = lines[-1].recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 ")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.endswith(b"content-length: %d" % len(body))
        assert json.loads(body)["error"]
        for line in lines:
            line.close()
        until(lambda: infer(server, 1, 2, 3, 4).status == 200)


def test_instances_are_pinned(program: Path, library: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    with running(program, library, "--cpus", cpu) as found:
        assert [os.sched_getaffinity(pid) for pid in found.instances()] == [{cpu}]


def test_the_board_in_the_metrics(
    program: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same samples as `tvmkd serve` shows of the same board."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    board_metrics = pytest.importorskip("tvmkd.deploy.serving.board_metrics")
    from tvmkd.boards import telemetry

    fake_nano.plant(tmp_path, celsius=61.5, throttled=True)
    monkeypatch.setenv("TVMKD_BOARD_ROOT", str(tmp_path))
    with running(program, library) as found:
        ours = {key: value for key, value in metrics(found.server()).items() if "_board_" in key[0]}

    class Collector:
        def collect(self) -> Iterator[Any]:
            yield from board_metrics.families(telemetry.read())

    registry = CollectorRegistry()
    registry.register(Collector())
    theirs = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    assert ours == pytest.approx(theirs)
    assert total(ours, "tvmkd_board_temperature_celsius", zone="CPU-therm") == 61.5
