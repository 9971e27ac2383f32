"""Engines, one file per engine. Their names are in `tvmkd.base.engine_registry`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvmkd.base import engine_registry
from tvmkd.base.errors import UsageError

if TYPE_CHECKING:
    from tvmkd.bench.engines.base import Engine
    from tvmkd.bench.spec import EngineSpec


def engine_class(kind: str) -> type[Engine]:
    """The class behind a registered name or ``package.module:Class``.

    Raises:
        UsageError: the engine is unknown, its module cannot be imported, or the class is not an
            `Engine`.
    """
    from tvmkd.bench.engines.base import Engine

    found = engine_registry.load(kind)
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise UsageError(f'engine "{kind}": is no subclass of tvmkd.bench.engines.base.Engine')
    return found


def create(spec: EngineSpec, threads: int) -> Engine:
    """The engine for ``spec``, not yet prepared. Called in the engine's own process.

    Raises:
        UsageError: as `engine_class`.
    """
    return engine_class(spec.kind)(spec, threads)


def on_gpu() -> list[str]:
    """Registered engines that run on this machine's GPU and have all their requirements."""
    return [
        name
        for name in engine_registry.ENGINES
        if engine_class(name).needs_gpu() and engine_class(name).lacks(name) is None
    ]
