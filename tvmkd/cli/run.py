"""``tvmkd run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvmkd.cli._options import PATH, json_option, print_json
from tvmkd.stages import STAGES

if TYPE_CHECKING:
    from tvmkd.config import Config


@click.command()
@click.option(
    "--config",
    type=PATH,
    default="tvmkd.toml",
    show_default=True,
    help="The file that describes the run.",
)
@click.option(
    "--until", type=click.Choice(STAGES), default=STAGES[-1], help="The last stage to run."
)
@json_option
def command(config: Path, until: str, as_json: bool) -> int:
    """Run the whole pipeline that a tvmkd.toml describes.

    Teacher and student, ONNX, tuning, artifact, comparison, report, gate. A stage is skipped if
    nothing that it reads has changed; an interrupted one continues. Exit code 1 if the gate is not
    passed.

    \b
    Examples:
      tvmkd run
      tvmkd run --config mine.toml --until build
      tvmkd run --json
    """
    from tvmkd import config as configs

    return carry_out(configs.read(config), [config.parent], until, as_json)


def carry_out(cfg: Config, search_in: Sequence[Path], until: str, as_json: bool) -> int:
    """Runs the stages, shows the summary, and returns the exit code."""
    from rich.console import Console

    from tvmkd.stages import pipeline, summary

    results = pipeline.run(cfg, search_in=search_in, until=until)
    if as_json:
        print_json(results)
    else:
        summary.show(results, cfg.project.out, Console(highlight=False))
    return 0 if results.get("gate", {}).get("passed", True) else 1
