"""``tvmkd latency``: one file per subcommand."""

from __future__ import annotations

import click

from tvmkd.cli import LazyGroup

VERBS = {
    "table": "Measure the kernels of a search space on the target, so that times can be predicted.",
    "predict": "Predict how long a network takes on the target.",
    "feedback": "Compare times seen in production with a table's predictions.",
}


class LatencyGroup(LazyGroup):
    """The subcommands of ``tvmkd latency``."""

    verbs = VERBS
    package = __name__


@click.command(cls=LatencyGroup)
def command() -> None:
    """Predict times on a target from a table of its kernels' times.

    A network's time is the sum of its kernels' times and the cost of a call; thousands of networks
    of a search space share some hundred kernels.
    """
