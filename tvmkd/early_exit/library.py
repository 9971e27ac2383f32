"""Builds one standalone library of a network with early exits."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.base.exits import Exits
from tvmkd.base.runtimes import STANDALONE
from tvmkd.base.wire import Event
from tvmkd.early_exit.runtime import EXITS
from tvmkd.stacks import compile as compiling
from tvmkd.targets import Target


@contextlib.contextmanager
def joined(folder: Path) -> Iterator[tuple[Path, Exits]]:
    """The network in a folder as one ONNX file, for as long as the block runs.

    Errors inside the block name the folder in place of that file.

    Raises:
        InputError: see `tvmkd.early_exit.join.join`.
    """
    if not (folder / EXITS).is_file():
        raise InputError(
            f"{folder}: is a folder without {EXITS}; give an ONNX file, or the folder that tvmkd "
            "distill made of [early_exit]"
        )
    from tvmkd.early_exit.join import join

    with tempfile.TemporaryDirectory(prefix="tvmkd-exits-") as work:
        path = Path(work) / "network.onnx"
        exits = join(folder, path)
        try:
            yield path, exits
        except TvmkdError as error:
            error.args = (str(error).replace(str(path), str(folder)),)
            raise


@contextlib.contextmanager
def one_file(given: Path) -> Iterator[Path]:
    """What is given as one ONNX file: the file, or the joined network of a folder of early exits.

    Raises:
        InputError: as `joined`.
    """
    if not given.is_dir():
        yield given
        return
    with joined(given) as (path, _):
        yield path


def builder_of(onnx: Path) -> Callable[..., dict[str, Any]]:
    """The function that builds what is given: an ONNX file, or a folder of early exits."""
    return build if onnx.is_dir() else compiling.build


def name_of(folder: Path) -> str:
    """What the network in a folder is called: the run's name, or else the folder's."""
    place = folder.resolve()
    in_run = (place.name, place.parent.name) == ("exits", "early-exit")
    return place.parent.parent.name if in_run else place.name


def build(
    folder: Path,
    target: Target,
    records: Sequence[Path],
    out: Path,
    *,
    runtime: str = STANDALONE,
    name: str | None = None,
    on_event: Event | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Compiles the network in ``folder`` to one library with all its exits.

    The pieces are joined and compiled as one model, so that they share one arena and no features
    are copied between them. Every exit is compared with ONNX Runtime, and the exit that the library
    leaves at with the thresholds.

    Args:
        folder: written by ``tvmkd distill`` with ``[early_exit]``.
        target, records, out, on_event: see `tvmkd.stacks.compile.build`.
        runtime: must be standalone.
        name: of the model; None: see `name_of`.
        options: of `tvmkd.stacks.compile.build`.

    Returns:
        the artifact's manifest.

    Raises:
        UsageError: another runtime.
        InputError: the folder cannot be used: see `tvmkd.early_exit.join.join`; or as
            `tvmkd.stacks.compile.build` does.
    """
    with joined(folder) as (path, exits):
        if runtime != STANDALONE:
            raise UsageError(
                f"{folder}: its pieces are artifacts already; one library of them needs "
                "--runtime standalone"
            )

        def tell(event: str, data: dict[str, Any]) -> None:
            if on_event is not None:
                text = str(data.get("text", "")).replace(str(path), str(folder))
                on_event(event, {**data, "text": text} if "text" in data else data)

        return compiling.build(
            path,
            target,
            records,
            out,
            runtime=runtime,
            exits=exits,
            name=name or name_of(folder),
            on_event=tell,
            **options,
        )
