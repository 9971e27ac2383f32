"""``tvmkd search``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tvmkd.cli import _recipes
from tvmkd.cli._options import PATH, json_option, label

WIDTH = 140
"""Columns of the table in a file or a pipe."""


@click.command()
@_recipes.recipe_options(_recipes.SEARCH, "The file with [search] and [search.space].")
@click.option(
    "--budget",
    type=label,
    metavar="LATENCY",
    help="The greatest latency, such as 5ms, or 12M instructions on emulated boards; instead of "
    "the file's.",
)
@click.option(
    "--objective",
    type=click.Choice(["accuracy", "weighted", "front"]),
    help="What is looked for; instead of the file's.",
)
@click.option(
    "--method",
    type=click.Choice(["study", "supernet", "joint"]),
    help="How it is looked for; instead of the file's.",
)
@click.option(
    "--trials", type=click.IntRange(min=1), help="Networks to train; instead of the file's."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes on this machine that train at a time; instead of the file's.",
)
@click.option(
    "--page",
    type=PATH,
    metavar="FOLDER",
    help="Only write the page of a search again, from the study.json in its folder.",
)
@json_option
def command(
    config: Path,
    recipe: str | None,
    copy: Path | None,
    page: Path | None,
    as_json: bool,
    **changes: Any,
) -> int:
    """Search for the best network within a latency budget.

    Networks are drawn from [search.space]. Each one's latency on the target is predicted from the
    times of its kernels, before it is trained: one that is too slow is not. Those near the front
    are measured. All is in OUT/search: study.json, pareto.html, winner/. The same command again
    continues, also with more --trials.

    Exit code 1 if no network meets the budget, or the winner breaks a rule of [gate] about its
    median time. Other rules need a comparison, which a run of the winner makes.

    \b
    Examples:
      tvmkd search --recipe digits
      tvmkd search --config tvmkd.toml --budget 5ms --trials 60
      tvmkd search --objective front --workers 4
      tvmkd search --page OUT/search
      optuna-dashboard OUT/search/study.journal
    """
    if page is not None:
        return _page(page)
    from tvmkd import config as configs
    from tvmkd import targets
    from tvmkd.bench.expression import parse

    file = _recipes.given("search", config, recipe, copy)
    if file is None:
        return 0
    from tvmkd.search import gate, methods

    cfg = methods.changed(configs.read(file), changes)
    target = targets.load(cfg.target.name)
    for rule in cfg.gate.require:
        parse(rule)

    from tvmkd.search.study import live, network_table

    trials = cfg.search.trials if cfg.search else 0
    with live.following(trials) as follow:
        study = methods.search(cfg, target, search_in=[file.parent], on_event=follow)
    verdict = gate.judge(study, cfg.gate.require)
    if as_json:
        click.echo(study.model_dump_json(indent=2))
    else:
        from rich.console import Console

        screen = Console(highlight=False)
        if not screen.is_terminal:
            screen = Console(highlight=False, width=WIDTH)
        screen.print(network_table.summary(study, screen.width))
        for line in network_table.ending(study, methods.folder(cfg)):
            click.echo(line)
        for check in verdict.checks:
            click.echo(f"{'pass' if check.holds else 'FAIL'}  {check.text}")
        for rule in verdict.undecided:
            click.echo(f"open  {rule}: a run of the winner compares")
    return 0 if verdict.passed else 1


def _page(folder: Path) -> int:
    """Writes the page of a finished or interrupted search."""
    from tvmkd.base import console
    from tvmkd.search import page, results

    study = results.read(folder)
    place = folder if folder.is_dir() else folder.parent
    console.say(f"{page.write(study, place / page.PARETO)}: the page")
    return 0
