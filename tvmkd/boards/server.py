"""The RPC server process of a board: ``python -m tvmkd.boards.server --tracker H:P --key K``.

Upstream's listening loop and protocol, with three differences: it runs in this process (one
process group to end), a session whose client is gone is ended at once even if its kernel hangs,
and a session that crashes does not take the server with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from typing import Any

from tvmkd.boards.facts import facts
from tvmkd.boards.tracker import listen
from tvmkd.stacks.tvm_process import die_with_parent, import_runtime

LEAVE_SECONDS = 0.5  # what a session may take to end by itself once its client has left
POLLRDHUP = getattr(select, "POLLRDHUP", 0x2000)


def _session(sock: socket.socket, folder: str) -> None:
    """The child that serves one session. Never returns."""
    code = 1
    try:
        die_with_parent()
        os.chdir(folder)
        from tvm.rpc import _ffi_api, server
        from tvm.support import utils

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


def _serving(sock: socket.socket, addr: Any, opts: dict[str, float], load_library: Any) -> None:
    """Serves one session in a forked child (stands in for upstream's function of this name)."""
    del addr, load_library
    from tvm.rpc import _ffi_api

    folder = tempfile.mkdtemp(prefix="tvmkd-session-")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        _session(sock, folder)
    try:
        if _watch(pid, sock, opts.get("timeout")):
            with contextlib.suppress(Exception):  # the client may be gone as well
                _ffi_api.ReturnException(
                    sock.fileno(),
                    f"RPCSessionTimeoutError: the session's {opts['timeout']:.0f} s are over",
                )
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        shutil.rmtree(folder, ignore_errors=True)
        sock.close()


def serve(host: str, port: int, tracker: tuple[str, int], key: str) -> None:
    """Serves sessions until ended; prints ``{"port": N}`` once it listens.

    Args:
        host: the address to bind to, also the one told to clients. Whoever reaches it runs
            code on this machine: TVM RPC has no authentication.
        tracker: the tracker's address.
        key: the name under which this board is asked for.
    """
    sock = listen(host, port)
    tvm = import_runtime()
    from tvm.rpc import server

    server.logger.setLevel(logging.ERROR)
    server._serving = _serving
    tvm.register_global_func("tvmkd.board.facts", lambda: json.dumps(facts()), override=True)
    # Leaves through the `finally` of the session at hand, which takes its folder along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = sock.getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    server._listen_loop(sock, port, key, tracker, None, None)


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--tracker", required=True, help="HOST:PORT of the tracker")
    parser.add_argument("--key", required=True)
    parser.add_argument("--die-with-parent", action="store_true")
    options = parser.parse_args()
    if options.die_with_parent:
        die_with_parent()
    tracker_host, tracker_port = options.tracker.rsplit(":", 1)
    serve(options.host, options.port, (tracker_host, int(tracker_port)), options.key)


if __name__ == "__main__":
    main()
