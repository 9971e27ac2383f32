"""``tvmkd deploy``: one file per subcommand."""

from __future__ import annotations

import click

from tvmkd.cli import LazyGroup

VERBS = {
    "bundle": "Put an artifact and all that a board needs into one archive.",
    "push": "Install a bundle on a board, over ssh.",
    "image": "Make a container image of an artifact, without Docker.",
    "programs": "Compile the programs that run and serve libraries on a board.",
    "learn": "Make a classifier's last layer ready to learn on a board.",
    "verify": "Check a bundle's checksums and signature.",
    "keygen": "Make the pair of keys that signs bundles.",
}


class DeployGroup(LazyGroup):
    """The subcommands of ``tvmkd deploy``."""

    verbs = VERBS
    package = __name__


@click.command(cls=DeployGroup)
def command() -> None:
    """Bring a standalone artifact to boards: bundles, images, updates.

    From an artifact to a product in fifteen minutes: docs/how-to/deploy.md.
    """
