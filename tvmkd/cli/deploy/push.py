"""``tvmkd deploy push``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvmkd.base.errors import UsageError
from tvmkd.cli._options import PATH, json_option, print_json

if TYPE_CHECKING:
    from tvmkd.deploy.bundles.push import Board, Installed


@click.command()
@click.argument("destination", metavar="USER@BOARD")
@click.argument("bundle", type=PATH, required=False)
@click.option("--rollback", is_flag=True, help="Go back to the version before the current one.")
@click.option("--name", help="Which model to roll back, where the board has several.")
@click.option(
    "--pubkey", type=PATH, help="The publisher's key; also for a board that has none yet."
)
@click.option("--root", default="/opt/tvmkd", show_default=True, help="Where versions are kept.")
@click.option("--keep", type=click.IntRange(2), help="Versions to keep.  [default: 3]")
@click.option("--no-service", is_flag=True, help="Install no systemd unit.")
@click.option("--version", help="The version of an artifact folder; default: its time of build.")
@click.option("--sign", type=PATH, metavar="KEYFILE", help="Sign the bundle of an artifact folder.")
@click.option("--onnx", type=PATH, help="The ONNX file of an artifact folder, for the self-test.")
@json_option
def command(
    destination: str,
    bundle: Path | None,
    rollback: bool,
    name: str | None,
    pubkey: Path | None,
    root: str,
    keep: int | None,
    no_service: bool,
    version: str | None,
    sign: Path | None,
    onnx: Path | None,
    as_json: bool,
) -> None:
    """Install a bundle on a board, over ssh.

    BUNDLE is an archive of `tvmkd deploy bundle`, or an artifact folder, which is bundled first. It
    is verified here, sent (an interrupted copy is resumed), verified there, tested there on the
    recorded input, and only then made the current version. The last line is the version that the
    board says it has. Keys and ports of ssh come from ~/.ssh/config.

    \b
    Examples:
      tvmkd deploy push nano@192.168.1.20 student-1.2.0.tar.gz --pubkey release.pub
      tvmkd deploy push nano@192.168.1.20 --rollback
    """
    from tvmkd.base import console
    from tvmkd.deploy.bundles.push import Board, Options
    from tvmkd.deploy.bundles.remote import Remote

    if rollback == (bundle is not None):
        raise UsageError("give a bundle, or --rollback")
    options = Options(root=root, keep=keep, pubkey=pubkey, service=not no_service)
    remote = Remote(destination)
    with tempfile.TemporaryDirectory(prefix="tvmkd-push-") as work:
        if bundle is not None and bundle.is_dir():
            bundle = _bundled(bundle, Path(work), version, sign, onnx)
        if bundle is None:
            done = Board(remote, options).rollback(name, console.say)
        else:
            done = _install(bundle, pubkey, lambda: Board(remote, options))
    if as_json:
        print_json({"destination": destination, "resumed": done.resumed, **done.status})
        return
    status = done.status
    click.echo(f"{destination}: {status['name']} {status['version']} in {status['folder']}")
    runs = status.get("running")
    click.echo(f"{destination}: " + (f"version {runs} serves" if runs else "no service runs"))


def _bundled(
    folder: Path, work: Path, version: str | None, sign: Path | None, onnx: Path | None
) -> Path:
    """A bundle of an artifact folder."""
    from tvmkd.base import console
    from tvmkd.deploy.bundles import bundle, model, signing

    read = model.read(folder)
    version = version or model.time_of_build(read)
    out = work / "bundle.tar.gz"
    name, version = model.name_and_version(read, out, ".tar.gz", None, version)

    def ask(text: str) -> str:
        return str(click.prompt(text.removesuffix(": "), hide_input=True))

    key = None if sign is None else signing.secret_key(sign, ask)
    options = bundle.Options(key=key, onnx=onnx)
    with console.working(f"bundling {folder}") as tell:
        bundle.make(read, out, name, version, options, tell)
    return out


def _install(bundle: Path, pubkey: Path | None, connect: Callable[[], Board]) -> Installed:
    from tvmkd.base import console
    from tvmkd.deploy.bundles import signing
    from tvmkd.deploy.bundles.verify import verify

    with console.working(f"verifying {bundle.name}") as tell:
        about = verify(bundle, None if pubkey is None else signing.public_key(pubkey))
        tell("connecting")
        return connect().install(bundle, about, tell, console.say)
