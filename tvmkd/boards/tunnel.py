"""SSH tunnels, so that neither a tracker nor a board has to listen beyond its own machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from tvmkd.base.errors import MissingError, UsageError

WAIT_SECONDS = 20.0
LOOPBACK = "127.0.0.1"


def parse(text: str) -> tuple[str, int]:
    """``USER@HOST[:PORT]`` as the SSH destination and the port of the board's server (9090).

    Raises:
        UsageError: it is something else.
    """
    destination, colon, port = text.rpartition(":")
    if not colon:
        destination, port = text, "9090"
    if not destination or destination.startswith("-") or not port.isdigit():
        raise UsageError(f"--ssh {text}: give USER@HOST, or USER@HOST:PORT of its RPC server")
    return destination, int(port)


@contextlib.contextmanager
def forwards(destination: str, options: Sequence[str], ready_port: int) -> Iterator[None]:
    """An ``ssh -N`` with the given forwards while the block runs.

    Args:
        destination: as ``ssh`` takes it; keys and ports come from the user's SSH configuration.
        options: ``-L`` and ``-R`` with their arguments.
        ready_port: a local port that the tunnel listens at once it stands.

    Raises:
        MissingError: there is no ssh, or it cannot connect or forward; says what it said.
    """
    if shutil.which("ssh") is None:
        raise MissingError("ssh is not installed: sudo apt-get install openssh-client")
    command = ["ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-o", "BatchMode=yes"]
    command += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", *options]
    process = subprocess.Popen(
        [*command, "--", destination],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not _listens(ready_port):
            if process.poll() is not None:
                assert process.stderr is not None
                said = process.stderr.read().decode(errors="replace").strip().splitlines()
                raise MissingError(f"ssh {destination}: {(said or ['it ended'])[-1].strip()}")
            if time.monotonic() > deadline:
                raise MissingError(f"ssh {destination}: no tunnel after {WAIT_SECONDS:.0f} s")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1.0)
        return sock.connect_ex((LOOPBACK, port)) == 0


@contextlib.contextmanager
def to_board(text: str, tracker_port: int) -> Iterator[None]:
    """Lets a board register here and be reached from here, with both ends at the loopback.

    On the board the tracker is at 127.0.0.1:9190; here the board's server is at its own port of
    127.0.0.1, which is also the address that the tracker hands out.

    Args:
        text: ``USER@HOST[:PORT]``; boards at one tracker need different ports.
        tracker_port: where the tracker listens here.
    """
    destination, port = parse(text)
    if _listens(port):
        raise UsageError(
            f"--ssh {text}: port {port} is taken here; start the board's server with another "
            "--port and give it: USER@HOST:PORT"
        )
    options = ["-R", f"{LOOPBACK}:9190:{LOOPBACK}:{tracker_port}"]
    options += ["-L", f"{LOOPBACK}:{port}:{LOOPBACK}:{port}"]
    with forwards(destination, options, port):
        yield
