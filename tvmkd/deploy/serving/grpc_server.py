"""The gRPC server's port and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError, MissingError
from tvmkd.deploy.serving.grpc_service import Service

OVERHEAD = 65536
"""Bytes of a message besides its tensors."""


async def start(
    service: Service,
    host: str,
    port: int,
    max_body: int,
    files: tuple[Path, Path] | None,
) -> tuple[Any, int]:
    """Starts the server; returns it and its port.

    Args:
        service: the methods.
        host, port: where to listen; port 0: any free one.
        max_body: bytes of a message.
        files: certificate and key in PEM; None: no TLS.

    Raises:
        MissingError: the port cannot be had.
        InputError: the certificate or the key cannot be read.
    """
    import grpc

    size = max_body + OVERHEAD
    server = grpc.aio.server(
        options=[
            # Two servers at one port would share its clients without a word.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", 32768),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]
    )
    server.add_generic_rpc_handlers((service.handlers(),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if files is None:
            found = server.add_insecure_port(address)
        else:
            certificate, key = (path.read_bytes() for path in files)
            credentials = grpc.ssl_server_credentials([(key, certificate)])
            found = server.add_secure_port(address, credentials)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except RuntimeError:
        found = 0
    if found == 0:
        raise MissingError(
            f"cannot listen at {address}: Address already in use; give another --grpc-port"
        )
    await server.start()
    return server, int(found)
