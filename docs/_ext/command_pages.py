"""The Sphinx directive ``{commands} module:command NAME``: the reference of a click command.

Each command gets a section, each option an entry of Sphinx's own ``option`` directive.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def contexts(command: click.Command, name: str) -> Iterator[click.Context]:
    """The context of a command and of every command below it, in the order of the help."""
    yield from _below(click.Context(command, info_name=name))


def _below(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _below(click.Context(command, info_name=name, parent=context))


def paragraphs(text: str) -> Iterator[str]:
    """A help text as Markdown: what click prints as it stands becomes a block of code."""
    for part in inspect.cleandoc(text).split("\n\n"):
        if not part.startswith("\b\n"):
            yield part
            continue
        lines = part[2:].splitlines()
        if not lines[0].startswith(" ") and lines[0].endswith(":"):
            yield lines.pop(0)
        yield "```shell\n" + inspect.cleandoc("\n" + "\n".join(lines)) + "\n```"


def options(context: click.Context) -> Iterator[str]:
    """One ``option`` directive for each option but ``--help``."""
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in parameter.opts:
            names = record[0].replace(" / ", ", ")
            yield f":::{{option}} {names}\n{record[1]}\n:::"


def command_reference(command: click.Command, name: str) -> str:
    """The reference of a command and all below it, as MyST Markdown."""
    blocks = []
    for context in contexts(command, name):
        path = context.command_path
        pieces = context.command.collect_usage_pieces(context)
        summary, *rest = paragraphs(context.command.help or "")
        blocks += [f"({path.replace(' ', '-')})=\n## {path}", summary]
        blocks += [f"```text\n{' '.join([path, *pieces])}\n```", *rest]
        blocks += [f":::{{program}} {path}\n:::"]
        blocks += options(context)
    return "\n\n".join(blocks) + "\n"


class Commands(SphinxDirective):
    """``{commands} module:command NAME``: the command, and what it is called by."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """The sections."""
        module, _, attribute = self.arguments[0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        text = command_reference(command, self.arguments[1])
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
