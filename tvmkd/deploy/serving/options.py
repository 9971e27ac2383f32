"""What `tvmkd serve` is told, and where it listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tvmkd.deploy.serving.limits import Limits

MIB = 2**20


@dataclass(frozen=True)
class Options:
    """What `tvmkd serve` is told; ports may be 0: any free one.

    Attributes:
        host: where to listen.
        http_port, grpc_port: the ports; ``grpc_port`` None: no gRPC.
        limits: of each model's pool.
        timeout_us: for requests that say none; 0: none.
        spin_us: how long instances poll for the next request before they sleep.
        max_body: bytes of a request.
        max_head: bytes of a request's head.
        read_s: seconds in which a request must arrive.
        connections: at the same time.
        token: what clients must send; None: nothing.
        certificate, key: PEM files for TLS; None: no TLS.
        control: whether clients may load and unload models; None: if nobody else can ask.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int | None = 8001
    limits: Limits = field(default_factory=Limits)
    timeout_us: int = 0
    spin_us: int = 0
    max_body: int = 64 * MIB
    max_head: int = 32768
    read_s: float = 30.0
    connections: int = 2048
    token: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    control: bool | None = None


@dataclass(frozen=True)
class Address:
    """Where a running server listens."""

    host: str
    http_port: int
    grpc_port: int | None
    scheme: str

    @property
    def url(self) -> str:
        """Of the REST server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.http_port}"
