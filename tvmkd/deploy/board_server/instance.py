"""The server's side of an instance's process."""

import asyncio
import json
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, Optional

from .protocol import ANSWER, ASK, Fault


class Request:
    """A request for inference that an instance shall run."""

    def __init__(self, plan: Dict[str, Any], arrived: float, deadline: float) -> None:
        self.plan, self.arrived, self.deadline = plan, arrived, deadline
        self.queued = self.asked = self.copied = 0.0
        self.done: asyncio.Future[Any] = asyncio.get_event_loop().create_future()
        self.timer: Optional[asyncio.TimerHandle] = None

    def refuse(self, fault: Fault) -> None:
        """Ends it without a result."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.done.done():
            self.done.set_exception(fault)


class Instance:
    """The server's side of an instance's process."""

    def __init__(self, model: Any, number: int) -> None:
        self.model, self.number = model, number
        self.request: Optional[Request] = None
        self.ready = self.busy = False
        self.failure, self.asked, self.started = "", 0.0, 0.0
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.shared: Optional[mmap.mmap] = None

    def start(self) -> None:
        """Starts the process."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryFile(dir=folder) as file, theirs:
            self.memory = os.dup(file.fileno())
            command = [sys.executable, os.path.abspath(__file__), "--instance", self.model.path,
                       str(theirs.fileno()), str(self.memory), str(self.model.threads)]  # fmt: skip
            cpus = self.model.cpus[self.number :: self.model.many]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), self.memory),
                preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
                start_new_session=True)  # fmt: skip
        self.started, self.failure = time.monotonic(), ""
        asyncio.get_event_loop().add_reader(self.control.fileno(), self.on_message)

    def run(self, request: Request) -> None:
        """Hands a request over."""
        self.request, self.busy, self.asked = request, True, time.monotonic()
        request.asked = self.asked
        assert self.shared is not None
        for tensor, data in zip(self.model.facts["inputs"], request.plan["inputs"]):
            self.shared[tensor["place"] : tensor["place"] + len(data)] = bytes(data)
        request.copied = time.monotonic()
        try:
            self.control.send(ASK.pack(request.deadline))
        except OSError:
            self.kill("it does not listen")  # its end is reported by the socket

    def on_message(self) -> None:
        """The process says something, or has ended."""
        try:
            message = self.control.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        kind, rest = message[:1], message[1:]
        if kind == b"f":
            self.failure = rest.decode("utf-8", "replace")
        elif kind == b"r":
            facts = json.loads(rest.decode())
            self.shared = mmap.mmap(self.memory, facts["size"])
            self.model.on_ready(self, facts)
        elif kind == b"a":
            _, code, exit_taken, begun, ended = ANSWER.unpack(message[: ANSWER.size])
            why = message[ANSWER.size :].decode("utf-8", "replace")
            request, self.request, self.busy = self.request, None, False
            self.model.on_answer(self, request, (code, why, exit_taken, begun, ended))
        else:
            self.on_death()

    def on_death(self) -> None:
        """Reaps the process."""
        assert self.process is not None
        self.process.kill()
        code = self.process.wait()
        reason = self.failure or (
            "it was ended by signal %d" % -code if code < 0 else "it ended with exit code %d" % code
        )
        request, self.request, self.ready, self.busy = self.request, None, False, False
        self.release()
        self.model.on_death(self, request, reason)

    def release(self) -> None:
        """Closes what is shared with the process."""
        if self.process is not None:
            asyncio.get_event_loop().remove_reader(self.control.fileno())
            self.control.close()
            os.close(self.memory)
            if self.shared is not None:
                self.shared.close()
            self.process, self.shared = None, None

    def kill(self, why: str) -> None:
        """Ends the process at once; on_death follows."""
        self.failure = why
        if self.process is not None:
            self.process.kill()

    def stop(self) -> None:
        """Ends the process without a report."""
        process, self.ready = self.process, False
        self.release()
        if process is not None:
            process.kill()
            process.wait()
