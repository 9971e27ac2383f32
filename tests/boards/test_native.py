"""The C server, as this machine's own program and as a board's under QEMU."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import board_client
import fake_nano
import pytest

from tvmkd import targets
from tvmkd.base.errors import MissingError
from tvmkd.boards import bundle, emulate
from tvmkd.boards.board_state import Telemetry
from tvmkd.boards.connect import boards
from tvmkd.boards.fleet import START_SECONDS, Fleet, Process, start_tracker

pytestmark = [pytest.mark.rpc, pytest.mark.board]


# What does not depend on the machine's architecture.
natively = pytest.mark.parametrize("target", ["native"], indirect=True)


def until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(MissingError):
            if condition():
                return True
        time.sleep(0.05)
    return False


def free(fleet: Fleet) -> bool:
    return [board["free"] for board in boards(fleet.host, fleet.port)] == [1]


@pytest.fixture(scope="module", params=["native", "emulated"])
def target(request: pytest.FixtureRequest) -> targets.Target:
    if request.param == "emulated" and emulate.why_not() is not None:
        pytest.skip(str(emulate.why_not()))
    found = targets.load("jetson-nano" if request.param == "emulated" else "host")
    try:
        bundle.runtime(found)
    except MissingError as error:
        pytest.skip(str(error))
    return found


@contextlib.contextmanager
def serving(target: targets.Target, work: Path, *options: str, **env: str) -> Iterator[Fleet]:
    """A tracker and one C server with the given options."""
    tracker = start_tracker()
    fleet = Fleet("127.0.0.1", tracker.wait_until_listening(), "one", tracker)
    work.mkdir(exist_ok=True)
    command = [str(bundle.runtime(target) / bundle.SERVER)]
    if target.architecture == "aarch64":
        command = [emulate.QEMU, "-cpu", target.mcpu, "-L", str(emulate.SYSTEM), *command]
        options = (*options, "--emulated", "qemu")
    command += ["--tracker", f"127.0.0.1:{fleet.port}", "--key", "one", "--port", "0"]
    server = Process(
        [*command, "--work-dir", str(work), "--die-with-parent", *options],
        {"TVM_NUM_THREADS": "1", **env},
    )
    fleet.servers.append(server)
    try:
        server.wait_until_listening()
        assert until(lambda: free(fleet))
        yield fleet
    finally:
        server.end()
        assert fleet.tracker is not None
        fleet.tracker.end()


@pytest.fixture(scope="module")
def kernels(target: targets.Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    triple = f"{target.toolchain.triple}.{target.toolchain.glibc}"
    return board_client.library(tmp_path_factory.mktemp("kernels"), triple)


@pytest.fixture(scope="module")
def fleet(target: targets.Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with serving(target, tmp_path_factory.mktemp("work")) as running:
        yield running


def test_it_serves_one_session_after_the_other(
    fleet: Fleet, kernels: Path, target: targets.Target
) -> None:
    for number in (4, 21):
        _, answer, facts = board_client.ask(fleet, kernels, f"twice:{number}", "facts")
        assert int(answer) == 2 * number
    found = json.loads(facts)
    assert found["machine"] == target.architecture
    assert found["emulated"] == (target.architecture == "aarch64")
    assert found["tvm_num_threads"] == 1
    assert found["libc"].startswith("glibc 2.")


def test_a_crash_ends_its_session_only(fleet: Fleet, kernels: Path) -> None:
    assert board_client.ask(fleet, kernels, "crash")[-1].startswith("failed:")
    assert board_client.ask(fleet, kernels, "twice:3")[-1] == "6"


def test_a_hung_kernel_is_freed_when_its_client_leaves(fleet: Fleet, kernels: Path) -> None:
    process = board_client.start(fleet, kernels, "hang")
    assert process.stdout is not None
    assert process.stdout.readline() == "calling hang\n"
    process.kill()
    process.wait()
    assert until(lambda: free(fleet))
    assert board_client.ask(fleet, kernels, "twice:3")[-1] == "6"


@natively
def test_a_session_has_its_time_and_the_client_is_told(fleet: Fleet, kernels: Path) -> None:
    answer = board_client.ask(fleet, kernels, "hang", timeout=1)[-1]
    assert answer.startswith("failed:")
    assert "RPCSessionTimeoutError" in answer
    assert until(lambda: free(fleet))


@natively
def test_a_client_that_stops_in_half_a_word_holds_nobody_up(fleet: Fleet, kernels: Path) -> None:
    import socket
    import struct

    port = fleet.servers[0].port
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(struct.pack("<ii", 0xFF271, 100) + b"client:")
        assert board_client.ask(fleet, kernels, "twice:5")[-1] == "10"


def test_an_upload_that_is_cut_off_leaves_the_board_as_it_was(fleet: Fleet, kernels: Path) -> None:
    process = board_client.start(fleet, kernels, "upload:400")
    assert process.stdout is not None
    assert process.stdout.readline() == "uploading\n"
    process.kill()
    process.wait()
    assert until(lambda: free(fleet))
    assert board_client.ask(fleet, kernels, "twice:3")[-1] == "6"


@natively
def test_folders_are_cleaned_up_even_after_a_killed_server(
    target: targets.Target, kernels: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with serving(target, work) as fleet:
        process = board_client.start(fleet, kernels, "sleep:60")
        assert process.stdout is not None
        assert process.stdout.readline() == "sleeping\n"
        (folder,) = work.iterdir()
        assert (folder / "kernels.so").exists()
        os.killpg(fleet.servers[0].pid, signal.SIGKILL)
        process.kill()
        process.wait()
    assert folder.exists(), "a killed server could not clean up"
    assert until(lambda: not Path(f"/proc/{folder.name.rsplit('-', 1)[1]}").exists())
    with serving(target, work) as fleet:
        assert not folder.exists()
        assert board_client.ask(fleet, kernels, "twice:3")[-1] == "6"
        assert until(lambda: free(fleet))
        assert list(work.iterdir()) == []


@natively
def test_a_tracker_that_comes_back_gets_its_board_back(
    target: targets.Target, kernels: Path, tmp_path: Path
) -> None:
    with serving(target, tmp_path / "work") as fleet:
        assert fleet.tracker is not None
        os.killpg(fleet.tracker.pid, signal.SIGKILL)
        fleet.tracker.end()
        fleet.tracker = start_tracker(port=fleet.port)
        fleet.tracker.wait_until_listening()
        assert until(lambda: free(fleet))
        assert board_client.ask(fleet, kernels, "twice:3")[-1] == "6"


def test_it_says_what_a_nano_is_and_how_warm(
    target: targets.Target, kernels: Path, tmp_path: Path
) -> None:
    root = fake_nano.plant(tmp_path / "root")
    with serving(target, tmp_path / "work", TVMKD_BOARD_ROOT=str(root)) as fleet:
        facts, cool = map(json.loads, board_client.ask(fleet, kernels, "facts", "telemetry"))
        fake_nano.plant(root, celsius=88.25, throttled=True)
        (hot,) = map(json.loads, board_client.ask(fleet, kernels, "telemetry"))
    assert facts["model"] == "NVIDIA Jetson Nano Developer Kit"
    assert facts["cpu"] == ("Cortex-A57" if target.name != "jetson-nano" else "emulated: qemu")
    assert (facts["l4t"], facts["nvpmodel"]) == ("R32.7.4", "5W")
    assert (facts["cuda"], facts["tensorrt"]) == ("10.2.300", "8.2.1")
    assert facts["memory_bytes"] == 4059504 * 1024
    assert facts["boot_id"].startswith("11111111")
    assert facts["governor"] == "schedutil"
    clock = {"now": 921600, "min": 102000, "max": 1479000}
    assert facts["clocks_khz"] == [{"cpu": cpu, **clock} for cpu in range(4)]
    assert (cool["celsius"], cool["throttled"]) == (41.5, False)
    assert Telemetry.from_dict(facts) == Telemetry.from_dict(cool)
    assert (cool["watts"], cool["nvpmodel"], cool["load_1min"]) == (2.346, "5W", 0.52)
    assert cool["rails"][2] == {"rail": "POM_5V_CPU", "watts": 0.512}
    assert cool["gpu_khz"] == {"now": 76800, "min": 76800, "max": 921600}
    assert (cool["gpu_load"], cool["memory_available_bytes"]) == (0.125, 2900000 * 1024)
    assert [zone["zone"] for zone in cool["thermal"]] == ["AO-therm", "CPU-therm"]
    assert (hot["celsius"], hot["throttled"]) == (88.2, True)


@natively
def test_only_who_is_allowed_gets_in(target: targets.Target, kernels: Path, tmp_path: Path) -> None:
    address = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    if not address:
        pytest.skip("this machine has no address but the loopback one")
    for allow, good in (("203.0.113.0/24", False), (f"{address[0]}/32", True)):
        options = ("--host", "0.0.0.0", "--custom-addr", address[0], "--allow", allow)
        with serving(target, tmp_path / "work", *options) as fleet:
            process = board_client.start(fleet, kernels, "twice:3")
            out, _ = process.communicate(timeout=60)
            assert (process.returncode == 0 and out.endswith("6\n")) == good


@natively
def test_a_kernel_that_fills_memory_takes_nobody_along(
    kernels: Path, target: targets.Target, tmp_path: Path
) -> None:
    with serving(target, tmp_path / "work", "--session-memory", "256") as fleet:
        got = int(board_client.ask(fleet, kernels, "fill:2048")[-1])
        assert 0 < got < 256
        assert board_client.ask(fleet, kernels, "twice:3")[-1] == "6"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--tracker is missing"),
        (["--tracker", "here", "--key", "k"], "not HOST:PORT: here"),
        (["--tracker", "h:1"], "--key is missing"),
        (["--tracker", "h:1", "--key", "k", "more"], "unknown argument more"),
    ],
)
def test_a_wrong_command_line_is_said(argv: list[str], said: str) -> None:
    server = bundle.runtime(targets.load("host")) / bundle.SERVER
    done = subprocess.run([server, *argv], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert said in done.stderr
    assert "usage: tvmkd-board" in done.stderr
