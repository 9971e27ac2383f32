"""The gRPC server's port, limits and certificate, without a model."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError, MissingError

grpc = pytest.importorskip("grpc", reason="gRPC needs it: pip install 'tvmkd[serve]'")
MOST = 1000


class Echo:
    """Stands in for the service: answers with what it was sent."""

    def handlers(self) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            return request

        method = grpc.unary_unary_rpc_method_handler(answer)
        return grpc.method_handlers_generic_handler("test", {"Echo": method})


def start(port: int = 0, host: str = "127.0.0.1", files: Any = None) -> Any:
    from tvmkd.deploy.serving import grpc_server

    service: Any = Echo()
    return grpc_server.start(service, host, port, MOST, files)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_messages_up_to_the_limit(host: str) -> None:
    from tvmkd.deploy.serving.grpc_server import OVERHEAD

    try:
        socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ).close()
    except OSError as error:
        pytest.skip(f"no {host} here: {error}")

    async def main() -> None:
        server, port = await start(host=host)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary("/test/Echo")
            largest = bytes(MOST + OVERHEAD)
            assert await call(largest, timeout=30) == largest
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call(largest + b"x", timeout=30)
            assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await server.stop(0)

    asyncio.run(main())


def test_a_port_that_is_taken() -> None:
    async def main() -> None:
        server, port = await start()
        try:
            with pytest.raises(MissingError, match=f"127.0.0.1:{port}: .* another --grpc-port"):
                await start(port)
        finally:
            await server.stop(0)

    asyncio.run(main())


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("x")
    files = tmp_path / "c.pem", tmp_path / "k.pem"
    with pytest.raises(InputError, match=r"k\.pem: cannot be read: No such file"):
        asyncio.run(start(files=files))
