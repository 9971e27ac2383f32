"""The server: opens the ports, loads the models, runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from tvmkd.base import console, signals
from tvmkd.base.errors import InputError, MissingError
from tvmkd.deploy.serving.access import WARNING, Access
from tvmkd.deploy.serving.options import Address, Options
from tvmkd.deploy.serving.repository import Repository
from tvmkd.deploy.serving.sources import Source

STOP_SECONDS = 30.0


def run(
    sources: Mapping[str, Source], options: Options, started: Callable[[Address], None]
) -> None:
    """Serves until SIGTERM, SIGHUP or Ctrl-C; then finishes what was accepted.

    Args:
        sources: the models, by name.
        options: see there.
        started: called when all models answer.

    Raises:
        InputError: a model cannot be loaded, or the certificate or its key is wrong.
        MissingError: a port cannot be had, or a package is missing.
        UsageError: the host does not resolve.
    """
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(_stop_noted())
        new_loop = _packages()
        _allow_files(options.connections)
        sock = stack.enter_context(_listening(options.host, options.http_port))
        loop = new_loop()
        stack.callback(_close, loop)
        asyncio.set_event_loop(loop)
        loop.run_until_complete(_serve(sources, options, sock, started, stopped))


def _packages() -> Callable[[], asyncio.AbstractEventLoop]:
    """Imports what the server needs; returns what makes its event loop."""
    try:
        import httptools  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingError(
            f"tvmkd serve needs {error.name}; install it: pip install 'tvmkd[serve]'"
        ) from None
    try:
        import uvloop
    except ImportError:  # slower, and all the same otherwise
        return asyncio.new_event_loop
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return new_loop


@contextlib.contextmanager
def _stop_noted() -> Iterator[list[int]]:
    """Notes what would otherwise end an import or a step halfway (`tvmkd.base.signals.ending`)."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            signals.hung_up()
        noted.append(number)

    with signals.handled(dict.fromkeys(signals.ending(), note)):
        yield noted


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Ends what still waits in a loop, and the loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    asyncio.set_event_loop(None)


def _allow_files(connections: int) -> None:
    """Raises the limit of open files to what so many connections need, if it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MissingError(
            f"cannot listen at {host}:{port}: {reason}; give another --http-port or --host"
        ) from None


def tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's TLS context.

    Raises:
        InputError: a file cannot be read, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InputError(
            f"{certificate}, {key}: no certificate and its key in PEM: {reason}"
        ) from None
    return context


async def _serve(
    sources: Mapping[str, Source],
    options: Options,
    sock: socket.socket,
    started: Callable[[Address], None],
    stopped: list[int],
) -> None:
    import uvicorn

    from tvmkd.boards.access import is_loopback
    from tvmkd.deploy.serving import connection, page
    from tvmkd.deploy.serving.metrics import Metrics
    from tvmkd.deploy.serving.rest import Rest
    from tvmkd.deploy.serving.routes import Routes

    loopback = is_loopback(options.host)
    if not loopback and options.token is None:
        console.warn(WARNING)
    control = options.control
    if control is None:
        control = loopback or options.token is not None
    access = Access(options.token, loopback, control)
    metrics = Metrics()
    repository = Repository(sources, options.limits, options.max_body, options.spin_us)
    routes = Routes(repository, access, metrics)
    rest = Rest(
        repository, access, metrics, routes.application(page.routes(routes)),
        max_body=options.max_body, timeout_us=options.timeout_us,
    )  # fmt: skip
    repository.changed = rest.refresh
    limits = connection.ConnectionLimits(
        options.max_head, options.read_s, options.connections, metrics
    )
    config = uvicorn.Config(
        rest,
        http=connection.limited(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # its warnings are of clients' faults, which get an answer
        access_log=False,
        server_header=False,
        proxy_headers=False,
        interface="asgi3",
        timeout_keep_alive=max(75, int(options.read_s)),
        timeout_graceful_shutdown=int(STOP_SECONDS),
        backlog=2048,
    )
    scheme = "http"
    if options.certificate is not None and options.key is not None:
        config.load()
        config.ssl = tls(options.certificate, options.key)
        scheme = "https"
    server = _quiet_server(config)
    metrics.connections = lambda: len(server.server_state.connections)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def end(number: int) -> None:
        if number == signal.SIGHUP:
            signals.let_go()
        stop.set()

    for number in signals.ending():
        loop.add_signal_handler(number, end, number)
    if stopped:
        return
    ending = asyncio.ensure_future(stop.wait())
    loading = asyncio.ensure_future(repository.start())
    await asyncio.wait({loading, ending}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        return
    await loading
    try:
        grpc_server, grpc_port = await _grpc(routes, options)
        serving = asyncio.ensure_future(server.serve([sock]))
        sweeping = asyncio.ensure_future(_sweep(server))
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        started(Address(options.host, sock.getsockname()[1], grpc_port, scheme))
        await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
        routes.stopping = True
        server.should_exit = True
        if grpc_server is not None:
            await grpc_server.stop(STOP_SECONDS)
        await serving
        sweeping.cancel()
    finally:
        await repository.close(STOP_SECONDS)


async def _grpc(routes: Any, options: Options) -> tuple[Any, int | None]:
    if options.grpc_port is None:
        return None, None
    try:
        from tvmkd.deploy.serving import grpc_server, grpc_service

        files = None
        if options.certificate is not None and options.key is not None:
            files = options.certificate, options.key
        service = grpc_service.Service(routes, options.timeout_us)
        return await grpc_server.start(
            service, options.host, options.grpc_port, options.max_body, files
        )
    except ImportError as error:
        raise MissingError(
            f"gRPC needs {error.name}; install it: pip install 'tvmkd[serve]', or give --no-grpc"
        ) from None


async def _sweep(server: Any) -> None:
    from tvmkd.deploy.serving import connection

    while True:
        await asyncio.sleep(0.5)
        connection.sweep(server.server_state)


def _quiet_server(config: Any) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leaves the signals to `_serve`, which stops in order."""
            yield

    return Server(config)
