"""``tvmkd data crops``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH


@click.command()
@click.option(
    "--config",
    type=PATH,
    required=True,
    metavar="FILE",
    help="The tvmkd.toml with the detection set.",
)
@click.option("-o", "--output", type=PATH, required=True, help="The folder to write.")
@click.option(
    "--size",
    type=click.IntRange(8, 1024),
    default=32,
    show_default=True,
    help="Side of a crop, in pixels.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of the choice of places without an object.",
)
def command(config: Path, output: Path, size: int, seed: int) -> None:
    """Cut the objects out of a detection data set, to train a classifier.

    Writes one folder per class, and "none" for places without an object. The weights of a
    classifier that is trained on them can initialise a detector's backbone.

    \b
    Examples:
      tvmkd data crops --config detection.toml -o crops
      tvmkd data crops --config detection.toml -o crops --size 48
    """
    from tvmkd import config as configs
    from tvmkd.base import console
    from tvmkd.base.errors import InputError

    cfg = configs.read(config).data
    if not cfg.detection:
        raise InputError(
            f'{config}: [data] dataset = "{cfg.dataset}" has no boxes to cut out; '
            "scenes, voc and coco have"
        )
    check_output(output, folder=True, replaced=True)
    from tvmkd.data.detection.crops import write_crops
    from tvmkd.data.detection.load import load

    with console.working("cutting the objects out"):
        count = write_crops(load(cfg), output, size, seed)
    click.echo(f"{output}: {count} images")
