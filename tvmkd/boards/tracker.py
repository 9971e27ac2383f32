"""The tracker process: ``python -m tvmkd.boards.tracker [--host H] [--port P]``.

Upstream's tracker, run in this process itself. Upstream's command serves from a child process,
which outlives a SIGTERM to the parent and keeps the port.
"""

from __future__ import annotations

import argparse
import json
import logging
import socket

from tvmkd.base.prctl import die_with_parent
from tvmkd.runtime.tvm_process import import_runtime


def listen(host: str, port: int) -> socket.socket:
    """A listening socket at ``host:port`` (port 0: any free one)."""
    family = socket.getaddrinfo(host, port, 0, 0, socket.IPPROTO_TCP)[0][0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        where = f"cannot listen at {host}:{port}: {error.strerror}"
        raise OSError(error.errno, where) from None
    sock.listen(64)
    return sock


def serve(host: str, port: int) -> None:
    """Runs a tracker in this process until it is ended; prints ``{"port": N}`` first."""
    sock = listen(host, port)
    import_runtime()
    from tvm.rpc import base, tracker

    tracker.logger.setLevel(logging.ERROR)
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
    tracker._tracker_server(sock, base.random_key("tracker"))


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9190)
    parser.add_argument("--die-with-parent", action="store_true")
    options = parser.parse_args()
    if options.die_with_parent:
        die_with_parent()
    serve(options.host, options.port)


if __name__ == "__main__":
    main()
