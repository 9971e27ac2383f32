"""The RPC server process of a board: ``python -m tvmkd.boards.server --tracker H:P --key K``.

Upstream's protocol and session, with differences: it runs in this process (one process group to
end), a session whose client is gone is ended at once even if its kernel hangs, and a session that
crashes or fills the memory does not take the server with it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from tvmkd.base.prctl import die_with_parent
from tvmkd.boards.facts import facts, telemetry
from tvmkd.boards.listening import listen_for_ever
from tvmkd.boards.tracker import listen
from tvmkd.byoc import regions
from tvmkd.runtime import relax_runtime
from tvmkd.runtime.tvm_process import import_runtime, register

LEAVE_SECONDS = 0.5  # what a session may take to end by itself once its client has left
MEMORY_SHARE = 0.8  # of what is free, for one session
POLLRDHUP = getattr(select, "POLLRDHUP", 0x2000)


def _limit_memory(mebibytes: int | None) -> None:
    """A kernel that asks for more than there is fails by itself. Data, not address space: CUDA
    reserves far more of the latter than it uses."""
    free = facts()["memory_available_bytes"]
    most = mebibytes << 20 if mebibytes else int((free or 0) * MEMORY_SHARE)
    if most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _declare_delay(seconds: float) -> None:
    """Makes the measurement of each module take ``seconds`` longer, however often it is timed: for
    benchmarks of what drives boards."""
    import tvm

    timer = tvm.get_global_func("runtime.RPCTimeEvaluator")
    last: list[Any] = []

    def delayed(module: Any, *args: Any) -> Any:
        evaluator = timer(module, *args)

        def run(*inputs: Any) -> Any:
            if not last or not last[0].same_as(module):
                last[:] = [module]
                time.sleep(seconds)
            return evaluator(*inputs)

        return tvm.runtime.convert(run)

    register(tvm, "runtime.RPCTimeEvaluator", delayed)


def _session(sock: socket.socket, folder: str, memory: int | None) -> None:
    """The child that serves one session. Never returns."""
    code = 1
    try:
        die_with_parent()
        os.chdir(folder)
        _limit_memory(memory)
        from tvm.rpc import _ffi_api, server

        utils = sys.modules[server._server_env.__module__].utils
        server._server_env([], utils.TempDirectory(os.path.join(folder, "work")))
        _ffi_api.ServerLoop(sock.fileno())
        code = 0
    except Exception as error:  # a client that vanished is no news
        print(f"session ended: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def _watch(pid: int, sock: socket.socket, limit: float | None) -> bool:
    """Waits for a session to end; ends it if its client leaves. True if it overran ``limit``."""
    deadline = None if limit is None else time.monotonic() + limit
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(sock.fileno(), POLLRDHUP | select.POLLHUP | select.POLLERR)
    try:
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            events = poll.poll(wait)
            if any(fd == ended for fd, _ in events):
                return False
            if not events:
                return True
            # The client left. A session that waits for its next call notices by itself; one
            # that is inside a hung kernel never does.
            poll.unregister(sock.fileno())
            deadline = time.monotonic() + LEAVE_SECONDS
            if not poll.poll(LEAVE_SECONDS * 1000):
                return False
    finally:
        os.close(ended)


def _serving(memory: int | None, sock: socket.socket, limit: float | None) -> None:
    """Serves one session in a forked child."""
    from tvm.rpc import _ffi_api

    folder = tempfile.mkdtemp(prefix="tvmkd-session-")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        _session(sock, folder, memory)
    try:
        if _watch(pid, sock, limit):
            with contextlib.suppress(Exception):  # the client may be gone as well
                _ffi_api.ReturnException(
                    sock.fileno(),
                    f"RPCSessionTimeoutError: the session's {limit:.0f} s are over",
                )
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        shutil.rmtree(folder, ignore_errors=True)


def serve(
    host: str,
    port: int,
    tracker: tuple[str, int],
    key: str,
    allowed: Sequence[str] = (),
    delay: float | None = None,
    memory: int | None = None,
) -> None:
    """Serves sessions until ended; prints ``{"port": N}`` once it listens.

    Args:
        host: the address to bind to, also the one that clients get. Every client that reaches it
            can run code on this machine: TVM RPC has no authentication.
        tracker: the tracker's address.
        key: the name under which clients request this board.
        allowed: networks to accept clients from, besides the loopback; empty: all networks.
        delay: seconds to add to each measurement, and to declare in the facts.
        memory: MiB that a session may use; None: most of the free memory.
    """
    sock = listen(host, port)
    tvm = import_runtime()
    regions.install(tvm, relax_runtime.tensor)
    functions = {"facts": lambda: facts(delay), "telemetry": telemetry}
    for name, function in functions.items():
        register(tvm, f"tvmkd.board.{name}", functools.partial(_answer, function))
    if delay is not None:
        _declare_delay(delay)
    # Exits through the `finally` of the open session, which removes its folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
    listen_for_ever(sock, tracker, key, allowed, functools.partial(_serving, memory))


def _answer(function: Callable[[], dict[str, Any]]) -> str:
    return json.dumps(function())


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--tracker", required=True, help="HOST:PORT of the tracker")
    parser.add_argument("--key", required=True)
    parser.add_argument("--allow", action="append", default=[], help="a network, several times")
    parser.add_argument("--delay", type=float, help="seconds to add to each measurement")
    parser.add_argument("--session-memory", type=int, help="MiB that a session may take")
    parser.add_argument("--die-with-parent", action="store_true")
    options = parser.parse_args()
    if options.die_with_parent:
        die_with_parent()
    host, port = options.tracker.rsplit(":", 1)
    tracker = (host, int(port))
    limits = (options.delay, options.session_memory)
    serve(options.host, options.port, tracker, options.key, options.allow, *limits)


if __name__ == "__main__":
    main()
