"""``tvmkd serve``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.cli._options import PATH


def _cpus(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> tuple[int, ...]:
    """``0,1`` or ``0-3``, as taskset's."""
    import os

    found: list[int] = []
    for part in filter(None, (text or "").split(",")):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise click.BadParameter(f"{part!r}: expected numbers, such as 0,1 or 0-3")
        found += range(int(first), int(last or first) + 1)
    allowed = os.sched_getaffinity(0)
    if wrong := [cpu for cpu in found if cpu not in allowed]:
        raise click.BadParameter(f"this process may not use CPU {wrong[0]} (it may: {allowed})")
    return tuple(dict.fromkeys(found))


@click.command()
@click.argument("folders", nargs=-1, required=True, type=PATH, metavar="FOLDER...")
@click.option("--name", "names", multiple=True, help="For each folder in turn; default: its own.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--http-port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8001, show_default=True)
@click.option("--no-grpc", is_flag=True, help="REST only.")
@click.option(
    "--instances",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes for each model.",
)
@click.option("--cpus", callback=_cpus, help="CPUs to pin the instances to, such as 0,1 or 0-3.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Of an instance; default: its CPUs.")
@click.option(
    "--queue",
    type=click.IntRange(0, 100_000),
    default=64,
    show_default=True,
    help="Requests that may wait for each model; more are refused.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 1e9),
    default=0,
    metavar="MS",
    help="Refuse what would take longer, if a request itself gives no timeout; 0: nothing.",
)
@click.option(
    "--spin",
    type=click.IntRange(0, 100_000),
    metavar="US",
    help="How long an instance looks for the next request before it sleeps, while requests come "
    "soon; default: 250 where CPUs are left for it, otherwise 0.",
)
@click.option(
    "--max-body",
    type=click.FloatRange(0.001, 4096),
    metavar="MIB",
    help="Of a request; default: what the largest inputs need as JSON, 64 with free dimensions.",
)
@click.option(
    "--read-timeout",
    type=click.FloatRange(0.1, 3600),
    default=30,
    show_default=True,
    metavar="S",
    help="A request must arrive, and its answer be read, within this time.",
)
@click.option("--token-file", type=PATH, help="A file with the token that clients must send.")
@click.option("--certfile", type=PATH, help="A certificate in PEM, for TLS.")
@click.option("--keyfile", type=PATH, help="Its key in PEM.")
@click.option(
    "--model-control/--no-model-control",
    default=None,
    help="Let clients load and unload models; default: if only this machine, or only who has the "
    "token, can ask.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON once it listens.")
def command(
    folders: tuple[Path, ...],
    names: tuple[str, ...],
    host: str,
    http_port: int,
    grpc_port: int,
    no_grpc: bool,
    instances: int,
    cpus: tuple[int, ...],
    threads: int | None,
    queue: int,
    timeout: float,
    spin: int | None,
    max_body: float | None,
    read_timeout: float,
    token_file: Path | None,
    certfile: Path | None,
    keyfile: Path | None,
    model_control: bool | None,
    as_json: bool,
) -> None:
    """Serve artifacts over REST and gRPC: the Open Inference Protocol.

    FOLDER is an artifact, or a folder whose subfolders are the versions of one model, or a folder
    of such models. It runs until Ctrl-C, SIGTERM or SIGHUP, and finishes what it has accepted. A
    page for people is at /, Prometheus' metrics are at /metrics.

    \b
    Examples:
      tvmkd serve out/
      tvmkd serve out/ --instances 2 --cpus 0,1 --timeout 50
      tvmkd serve models/ --host 0.0.0.0 --token-file token --certfile c.pem --keyfile k.pem
    """
    import dataclasses
    import json

    from tvmkd.base import console
    from tvmkd.deploy.serving import access, limits, server, sources
    from tvmkd.deploy.serving.options import MIB, Address, Options

    if (certfile is None) != (keyfile is None):
        raise click.UsageError("give --certfile and --keyfile together")
    found = sources.find(folders, names)
    spin = limits.default_spin(len(found) * instances) if spin is None else spin
    limits.leave(cpus)
    limit = sources.body_limit(found.values()) if max_body is None else int(max_body * MIB)
    options = Options(
        host=host,
        http_port=http_port,
        grpc_port=None if no_grpc else grpc_port,
        limits=limits.Limits(instances, cpus, threads or 0, queue),
        timeout_us=round(timeout * 1000),
        spin_us=spin,
        max_body=limit,
        read_s=read_timeout,
        token=None if token_file is None else access.read_token(token_file),
        certificate=certfile,
        key=keyfile,
        control=model_control,
    )

    def started(address: Address) -> None:
        if as_json:
            facts = {**dataclasses.asdict(address), "url": address.url, "models": list(found)}
            click.echo(json.dumps(facts))
        else:
            click.echo(f"{', '.join(found)}: {address.url} (a page, REST, /metrics)")
            if address.grpc_port is not None:
                click.echo(f"gRPC: {address.host}:{address.grpc_port}")

    console.say(f"loading {', '.join(found)}")
    server.run(found, options, started)
