from __future__ import annotations

import click
import command_pages

from tvmkd import cli


@click.group()
def main() -> None:
    """All of it."""


@main.command()
@click.option("-o", "--output", metavar="PATH", required=True, help="Where to.")
@click.option("--fast/--slow", help="How.")
@click.argument("onnx")
def build(output: str, fast: bool, onnx: str) -> None:
    """Builds.

    \b
    Examples:
      main build a.onnx \\
          -o b
    """


def test_a_command_has_usage_examples_and_options() -> None:
    text = command_pages.command_reference(main, "main")
    assert "## main\n" in text
    assert "## main build\n\nBuilds.\n\n```text\nmain build [OPTIONS] ONNX\n```" in text
    assert "Examples:\n\n```shell\nmain build a.onnx \\\n    -o b\n```" in text
    assert ":::{option} -o, --output PATH\nWhere to.  [required]\n:::" in text
    assert ":::{option} --fast, --slow\n" in text
    assert "--help" not in text


def test_every_verb_is_in_the_reference() -> None:
    text = command_pages.command_reference(cli.group, "tvmkd")
    assert [verb for verb in cli.VERBS if f"\n## tvmkd {verb}\n" not in text] == []
    assert "\n## tvmkd board doctor\n" in text
