"""``tvmkd data preview``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH


@click.command()
@click.option(
    "--config",
    type=PATH,
    metavar="FILE",
    help="The tvmkd.toml with the images and the camera. Default: the digits.",
)
@click.option("-o", "--output", type=PATH, required=True, help="The PNG file to write.")
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of everything random.",
)
@click.option(
    "--severity",
    type=click.IntRange(min=1, max=5),
    help="Strength of every effect; replaces the ranges in the config.",
)
def command(config: Path | None, output: Path, seed: int, severity: int | None) -> None:
    """Show training images with each effect of the simulated camera.

    The picture has a column for each image, a row for each effect alone, and a row for all effects
    together, with the same random values as in the rows above.

    \b
    Examples:
      tvmkd data preview -o preview.png
      tvmkd data preview --config tvmkd.toml -o preview.png --seed 3
      tvmkd data preview --severity 5 -o worst.png
    """
    check_output(output)
    from tvmkd import config as configs

    cfg = configs.read(config).data if config is not None else configs.Data()
    from tvmkd import data
    from tvmkd.base import console
    from tvmkd.data import preview
    from tvmkd.data.camera import Camera

    with console.working("loading the images"):
        splits = data.load(cfg)
    if severity is None:
        camera = Camera(**cfg.camera.model_dump())
    else:
        camera = Camera.severity(severity, min(splits.size))
    rows, columns = preview.save(output, splits, camera, seed)
    click.echo(f"{output}: {rows} rows of {columns} images")
