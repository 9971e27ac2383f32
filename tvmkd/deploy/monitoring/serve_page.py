"""Serves the latest view of a fleet over HTTP: the page at ``/``, the data at ``/view.json``."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tvmkd.base.errors import InputError

NAMES = ("localhost", "127.0.0.1", "[::1]")


class PageServer:
    """A server in a thread. Use as a context manager.

    Only on this machine: there is no password. The name in a request must be this machine's, so
    that a page of another web site cannot read it through a name that leads here (DNS rebinding).

    Args:
        port: 0: any that is free.

    Raises:
        InputError: the port cannot be used.
    """

    def __init__(self, port: int) -> None:
        self.page = b""
        self.data = b"{}"
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise InputError(
                f"--http {port}: cannot listen there ({error.strerror}); give another port"
            ) from None
        self.port = self._server.server_address[1]

    def __enter__(self) -> PageServer:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def show(self, page: str, data: object) -> None:
        """Sets what is served from now on."""
        self.page = page.encode("utf-8", "replace")
        self.data = json.dumps(data).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers["Host"]
                answers = {
                    "/": ("text/html", outer.page),
                    "/view.json": ("application/json", outer.data),
                }
                if host not in NAMES:
                    self.send_error(421)
                    return
                if self.path not in answers:
                    self.send_error(404)
                    return
                kind, body = answers[self.path]
                self.send_response(200)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Says nothing: the console shows the table."""

        return Handler
