"""``tvmkd demo``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.cli._options import PATH, json_option


@click.command()
@click.option("-o", "--output", type=PATH, help="The run's folder.  [default: runs/demo]")
@click.option("--show", is_flag=True, help="Print the demo's tvmkd.toml and do nothing else.")
@json_option
def command(output: Path | None, show: bool, as_json: bool) -> int:
    """Run the pipeline on the digits that ship with it.

    The same as `tvmkd run` on a tvmkd.toml that comes with tvmkd: nothing is downloaded.

    \b
    Examples:
      tvmkd demo
      tvmkd demo -o /tmp/demo --json
      tvmkd demo --show > tvmkd.toml
    """
    from tvmkd.base import resources

    path = resources.folder("demo") / "tvmkd.toml"
    if show:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
        return 0
    from tvmkd import config as configs
    from tvmkd.cli.run import carry_out
    from tvmkd.stages import STAGES

    cfg = configs.read(path)
    if output is not None:
        cfg = cfg.model_copy(update={"project": cfg.project.model_copy(update={"out": output})})
    return carry_out(cfg, [], STAGES[-1], as_json)
