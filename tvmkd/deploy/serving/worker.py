"""The server's side of one instance: starts its process, hands it requests, sees it die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.deploy.serving.channel import Channel
from tvmkd.deploy.serving.tensors import Layout

if TYPE_CHECKING:
    from tvmkd.base.manifest import Manifest
    from tvmkd.deploy.serving.call import Request

MOST_START_MESSAGE = 65536


@dataclass(frozen=True)
class Program:
    """What an instance runs.

    Attributes:
        folder: the artifact.
        manifest: as it was read from there.
        layout: of its tensors.
        most: bytes for tensors with free dimensions.
        spin_us: how long an instance polls for the next request before it sleeps.
    """

    folder: Path
    manifest: Manifest
    layout: Layout
    most: int
    spin_us: int = 0

    def channel(self) -> Channel:
        """A new channel to an instance."""
        return Channel(self.layout)


@dataclass
class Events:
    """What a worker reports; each function gets the worker first."""

    ready: Callable[[Worker, int], None]
    """With the time of a run, ns; 0: unknown."""
    done: Callable[[Worker, Request], None]
    """The answer can be read from the channel."""
    died: Callable[[Worker, Request | None, str], None]
    """With the request that it was computing and the reason."""


@dataclass(eq=False)
class Worker:
    """One instance.

    Attributes:
        program: what it runs.
        number: its number in the pool.
        cpus: CPUs to pin it to; empty: none.
        threads: for a kernel.
        events: who is told.
    """

    program: Program
    number: int
    cpus: tuple[int, ...]
    threads: int
    events: Events
    ready: bool = False
    request: Request | None = None
    asked_ns: int = 0
    process: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    _channel: Channel | None = None
    _said: bytearray = field(default_factory=bytearray)

    @property
    def channel(self) -> Channel:
        """The channel of a started worker."""
        assert self._channel is not None
        return self._channel

    def start(self) -> None:
        """Starts the process; `Events.ready` or `Events.died` follows."""
        self._channel = channel = self.program.channel()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        given = {
            "channel": channel.descriptors,
            "control": theirs.fileno(),
            "folder": str(self.program.folder.absolute()),
            "manifest": self.program.manifest.model_dump(mode="json"),
            "most": self.program.most,
            "cpus": list(self.cpus),
            "spin_us": self.program.spin_us,
        }
        threads = str(self.threads)
        root = Path(__file__).resolve().parents[3]
        paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tvmkd.deploy.serving.instance", json.dumps(given)],
                stdin=subprocess.DEVNULL,
                pass_fds=(*channel.descriptors, theirs.fileno()),
                env={
                    **os.environ,
                    "PYTHONPATH": paths,
                    "TVM_NUM_THREADS": threads,
                    "OMP_NUM_THREADS": threads,
                },
            )
        self._control = ours
        loop = asyncio.get_running_loop()
        loop.add_reader(ours.fileno(), self._on_control)
        loop.add_reader(channel.answered, self._on_answer)

    def run(self, request: Request) -> None:
        """Hands a request over; `Events.done` or `Events.died` follows.

        Raises:
            RequestFault: the inputs do not fit into the channel.
        """
        self.asked_ns = time.monotonic_ns()
        request.copied_ns = self.channel.ask(request.inputs, request.shapes)
        self.request = request

    def look(self, nanoseconds: int) -> None:
        """Looks for the answer so long; `Events.done` is called if it is there."""
        if self.channel.answers_within(nanoseconds):
            self._on_answer()

    def _on_answer(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.channel.answered)
            request, self.request = self.request, None
            if request is not None:
                self.events.done(self, request)

    def _on_control(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(MOST_START_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_death()
            return
        self._said += data
        if self._said.endswith(b"\n"):
            message: dict[str, Any] = json.loads(self._said)
            if "error" not in message:
                self._said.clear()
                self.ready = True
                self.events.ready(self, message["run_ns"])

    def _on_death(self) -> None:
        process = self.process
        assert process is not None
        # The socket is closed: it has ended, or is about to.
        process.kill()
        process.wait()
        if self._said:
            reason = json.loads(self._said)["error"]
        elif process.returncode < 0:
            reason = f"it was ended by signal {-process.returncode}"
        else:
            reason = f"it ended with exit code {process.returncode}"
        # What it has answered before it died is an answer.
        self._on_answer()
        request, self.request = self.request, None
        self._release()
        self.events.died(self, request, reason)

    def kill(self) -> None:
        """Ends the process at once; `Events.died` follows."""
        if self.process is not None:
            self.process.kill()

    async def stop(self) -> None:
        """Ends the process; nothing is reported."""
        process, self.process = self.process, None
        if process is None or self._channel is None:
            return
        self._release()  # the end of its control socket ends it
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, process.wait, 2)
        except subprocess.TimeoutExpired:
            process.kill()
            await loop.run_in_executor(None, process.wait)

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready = False
        if self._control is not None:
            loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        if self._channel is not None:
            loop.remove_reader(self._channel.answered)
            self._channel.close()
            self._channel = None
