"""``tvmkd deploy bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH, json_option, print_json


@click.command()
@click.argument("artifact", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="The NAME-VERSION.tar.gz to write.")
@click.option("--name", help="The bundle's name; default: from the output's name.")
@click.option("--version", help="The bundle's version; default: from the output's name.")
@click.option("--sign", type=PATH, metavar="KEYFILE", help="Sign with this key of `deploy keygen`.")
@click.option(
    "--power",
    metavar="MODE",
    help="Power mode of the target while the model is served, such as max.",
)
@click.option("--onnx", type=PATH, help="The ONNX file that was compiled, for the self-test.")
@click.option("--inputs", type=PATH, help="An .npz of real inputs: the first is the self-test's.")
@click.option("--classes", type=PATH, help="A file with one class name a line.")
@click.option(
    "--learn",
    type=PATH,
    metavar="HEAD.bin",
    help="A head of `deploy learn`, so that serve.py --learn can teach the model on the board.",
)
@click.option("--license", "license_id", metavar="SPDX", help="The model's licence, for the bill.")
@json_option
def command(
    artifact: Path,
    output: Path,
    name: str | None,
    version: str | None,
    sign: Path | None,
    power: str | None,
    onnx: Path | None,
    inputs: Path | None,
    classes: Path | None,
    learn: Path | None,
    license_id: str | None,
    as_json: bool,
) -> None:
    """Put an artifact and all that a board needs into one archive.

    ARTIFACT is a folder of `tvmkd build --runtime standalone`. The bundle contains the library,
    tvmkd-run, a server, the installer, a systemd unit, a recorded self-test, checksums, and a bill
    of materials (CycloneDX). The self-test is run here first, or under QEMU, where that can be.

    \b
    Examples:
      tvmkd deploy bundle out/ -o student-1.2.0.tar.gz --sign release.key
      tvmkd deploy bundle out/ -o student-1.2.0.tar.gz --power max --onnx student.onnx
    """
    from tvmkd.base import console
    from tvmkd.deploy.bundles import bundle, model, signing

    read = model.read(artifact)
    name, version = model.name_and_version(read, output, ".tar.gz", name, version)
    check_output(output)

    def ask(text: str) -> str:
        return str(click.prompt(text.removesuffix(": "), hide_input=True))

    options = bundle.Options(
        key=None if sign is None else signing.secret_key(sign, ask),
        power=power,
        onnx=onnx,
        inputs=inputs,
        classes=classes,
        license=license_id,
        learn=learn,
    )
    with console.working(f"bundling for {read.target.name}") as tell:
        made = bundle.make(read, output, name, version, options, tell)
    size = output.stat().st_size
    if as_json:
        print_json(
            {
                "path": str(output),
                "name": made.name,
                "version": made.version,
                "bytes": size,
                "sha256": made.sha256,
                "key": made.key,
                "self_test": made.tested or None,
                "emulated": made.emulated,
                "files": dict(made.sizes),
            }
        )
        return
    for path, each in made.sizes.items():
        click.echo(f"{path:<36}{each / 1024:>10.1f} KiB")
    where = " under QEMU" if made.emulated else " here"
    tested = f"self-test{where}: {made.tested}" if made.tested else "self-test: not run here"
    click.echo(tested)
    click.echo(f"signed with the key {made.key}" if made.key else "not signed: --sign KEYFILE")
    click.echo(f"{output}: {size / 2**20:.1f} MiB, sha256 {made.sha256}")
    click.echo(f"Install it with: tvmkd deploy push USER@BOARD {output}")
