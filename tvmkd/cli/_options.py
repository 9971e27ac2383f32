"""Shared by several commands: argument types, options, printing of results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tvmkd.base import stack_registry
from tvmkd.base.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])

# No `exists=True`: a missing file is bad input (exit code 4), not wrong usage (2).
PATH = click.Path(path_type=Path)


def dimension(text: str) -> tuple[str, int]:
    """Parses ``NAME=SIZE``, the size of a free dimension, for click."""
    name, _, size = text.partition("=")
    if not name or not size.isdigit() or int(size) < 1:
        raise click.BadParameter(f'"{text}" is not NAME=SIZE, for example batch=1')
    return name, int(size)


def label(text: str) -> str:
    """A key or a name for click, without blanks around it: they come with copied text.

    Raises:
        click.BadParameter: nothing is left.
    """
    if not text.strip():
        raise click.BadParameter("it is empty")
    return text.strip()


def tracker(text: str) -> tuple[str, int] | None:
    """Parses ``HOST[:PORT]`` for click; None for ``local``, a temporary fleet on this machine."""
    if text.strip() == "local":
        return None
    from tvmkd.config import parse_tracker

    try:
        return parse_tracker(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def environment_tracker() -> str:
    """The default of ``--rpc-tracker``: from TVM's environment variables, otherwise ``local``."""
    host = os.environ.get("TVM_TRACKER_HOST")
    if not host:
        return "local"
    port = os.environ.get("TVM_TRACKER_PORT")
    return f"{host}:{port}" if port else host


def shapes(text: str) -> list[tuple[str, int]]:
    """Parses ``INPUT:1x3x48x320`` for click, several with commas, as trtexec's ``--shapes`` does.

    Returns:
        the size of each axis, by ``INPUT.AXIS``; ``.AXIS`` where the input is not named.
    """
    sizes = []
    for part in text.split(","):
        name, _, shape = part.strip().rpartition(":")
        numbers = shape.lower().split("x")
        if not all(number.isdigit() and int(number) > 0 for number in numbers):
            raise click.BadParameter(f'"{text}" is not INPUT:1x3x224x224')
        sizes += [(f"{name}.{axis}", int(number)) for axis, number in enumerate(numbers)]
    return sizes


def environment_key() -> str | None:
    """The default of ``--rpc-key``: from TVM's environment variable, otherwise none."""
    return os.environ.get("TVM_TRACKER_KEY", "").strip() or None


def dims_option(command: Command) -> Command:
    """``--dim NAME=SIZE`` and ``--shape INPUT:1x3x224x224``, both repeatable, as ``dims``."""

    def merged(
        context: click.Context, _: click.Parameter, given: tuple[Any, ...]
    ) -> tuple[tuple[str, int], ...]:
        found = context.meta.setdefault("tvmkd.dims", {})
        for entry in given:
            for name, size in entry if isinstance(entry, list) else [entry]:
                if found.setdefault(name, size) != size:
                    raise click.BadParameter(f"two sizes for {name}: {found[name]} and {size}")
        return tuple(found.items())

    command = click.option(
        "--dim",
        "dims",
        type=dimension,
        metavar="NAME=SIZE",
        multiple=True,
        callback=merged,
        help="Size of a free dimension of the model, by its name or as INPUT.AXIS; once for each.",
    )(command)
    # Eager: its sizes are there when those of --dim are put together.
    return click.option(
        "--shape",
        type=shapes,
        metavar="INPUT:1x3x224x224",
        multiple=True,
        callback=merged,
        is_eager=True,
        expose_value=False,
        help="Sizes of all axes of an input; once for each. The name may be left out where there "
        "is one input.",
    )(command)


def target_option(command: Command) -> Command:
    """``--target``."""
    return click.option(
        "--target",
        "target_name",
        type=label,
        default="host",
        show_default=True,
        metavar="NAME|FILE",
        help="A name that `tvmkd targets` lists, or the path of a target file.",
    )(command)


def stack_options(*, both: bool = False) -> Callable[[Command], Command]:
    """``--stack`` and ``--stack-python``.

    Args:
        both: whether the command accepts ``--stack both``.
    """
    stacks = stack_registry.STACKS
    names = [entry.name for entry in stacks] + (["both"] if both else [])
    known = " or ".join(f"{entry.name} ({entry.search})" for entry in stacks)
    other = [entry for entry in stacks if entry.own_interpreter]
    variables = ", ".join(str(entry.variable) for entry in other)
    installed = ", ".join(f"`tvmkd stack install {entry.name}`" for entry in other)

    def decorate(command: Command) -> Command:
        command = click.option(
            "--stack-python",
            type=PATH,
            metavar="PYTHON",
            help=f"The Python interpreter of the {', '.join(entry.name for entry in other)} stack; "
            f"default: {variables}, or the one that {installed} made.",
        )(command)
        return click.option(
            "--stack",
            type=click.Choice(names),
            default=stack_registry.DEFAULT,
            show_default=True,
            help=f"The compiler stack: {known}.",
        )(command)

    return decorate


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
    )(command)


def existing(path: Path, what: str) -> Path:
    """``path``, if it exists.

    Raises:
        InputError: it does not exist; the message names ``what`` was expected.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such {what}")
    return path


def arrays(path: Path) -> dict[str, Any]:
    """The arrays of an ``.npz``, by name.

    Raises:
        InputError: the file is not an ``.npz``.
    """
    import zipfile

    import numpy as np

    broken = (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)
    try:
        with np.load(path, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except broken as error:
        raise InputError(f"{path}: not an .npz of arrays: {error}") from None


def print_json(value: Any) -> None:
    """Prints ``value`` to standard output as indented JSON."""
    click.echo(json.dumps(value, indent=2, default=str))
