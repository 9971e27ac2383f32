"""``tvmkd engine``: one file per subcommand."""

from __future__ import annotations

import click

from tvmkd.cli import LazyGroup

VERBS = {
    "build": "Build a TensorRT or TensorRT-RTX engine from an ONNX model.",
}


class EngineGroup(LazyGroup):
    """The subcommands of ``tvmkd engine``."""

    verbs = VERBS
    package = __name__


@click.command(cls=EngineGroup)
def command() -> None:
    """Build engines of TensorRT and TensorRT-RTX.

    They are two products: their engines and their numbers are never mixed.
    """
