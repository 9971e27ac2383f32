"""The models of a server: loaded, replaced while requests run, unloaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tvmkd import artifact
from tvmkd.base.errors import InputError
from tvmkd.base.manifest import Manifest
from tvmkd.base.runtimes import STANDALONE
from tvmkd.deploy.serving import version_policy
from tvmkd.deploy.serving.channel import HEAD
from tvmkd.deploy.serving.faults import RequestFault, invalid
from tvmkd.deploy.serving.limits import Limits
from tvmkd.deploy.serving.pool import Pool
from tvmkd.deploy.serving.sources import Source
from tvmkd.deploy.serving.statistics import Statistics
from tvmkd.deploy.serving.tensors import Layout, Tensor, by_name, tensors
from tvmkd.deploy.serving.worker import Program

DRAIN_SECONDS = 30.0


@dataclass(eq=False)
class Served:
    """One loaded version of a model.

    Attributes:
        name, version: what clients ask for.
        manifest: the artifact's.
        pool: its instances.
        inputs, outputs: its tensors.
        input_numbers, output_numbers: their positions, by name.
    """

    name: str
    version: str
    manifest: Manifest
    pool: Pool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    input_numbers: Mapping[str, int] = field(init=False)
    output_numbers: Mapping[str, int] = field(init=False)
    cache: dict[Any, Any] = field(default_factory=dict)
    """For `tvmkd.deploy.serving.codec`."""

    def __post_init__(self) -> None:
        self.input_numbers = by_name(self.inputs)
        self.output_numbers = by_name(self.outputs)

    @property
    def statistics(self) -> Statistics:
        """What it has done."""
        return self.pool.statistics

    @property
    def kind(self) -> str:
        """What runs it: ``standalone``, or the stack whose runtime it needs."""
        return STANDALONE if self.manifest.runtime == STANDALONE else self.manifest.stack

    def metadata(self, versions: list[str]) -> dict[str, Any]:
        """The protocol's description of a model."""
        return {
            "name": self.name,
            "versions": versions,
            "platform": f"tvmkd_{self.kind}",
            "inputs": [tensor.metadata() for tensor in self.inputs],
            "outputs": [tensor.metadata() for tensor in self.outputs],
        }


@dataclass(eq=False)
class Model:
    """A model of the repository.

    Attributes:
        source: where it comes from.
        loaded: its loaded versions, the newest last.
        failure: why the last load failed; empty: it did not.
    """

    source: Source
    loaded: dict[str, Served] = field(default_factory=dict)
    failure: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def default(self) -> Served | None:
        """The version that a request without a version gets: the newest that is loaded."""
        return next(reversed(self.loaded.values()), None)


class Repository:
    """See the module.

    Args:
        sources: by name.
        limits: of each pool.
        most: bytes for tensors of models with free dimensions.
        spin_us: how long instances poll before they sleep.
        changed: called after versions were loaded or unloaded.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        limits: Limits,
        most: int,
        spin_us: int = 0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.models = {name: Model(source) for name, source in sources.items()}
        self.changed = changed
        self._limits, self._most, self._spin_us = limits, most, spin_us
        # Counters go on when a version is loaded again: Prometheus takes a smaller number as a
        # restart of the server.
        self._statistics: dict[tuple[str, str], Statistics] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Loads the newest version of every model.

        Raises:
            InputError: one cannot be loaded; nothing stays running.
        """
        try:
            for name in self.models:
                try:
                    await self.load(name)
                except RequestFault as fault:
                    raise InputError(fault.message) from None
        except BaseException:
            await self.close(0.0)
            raise

    def served(self) -> Iterator[Served]:
        """Every loaded version."""
        for model in self.models.values():
            yield from model.loaded.values()

    def get(self, name: str, version: str = "") -> Served:
        """A loaded version of a model; the newest without ``version``.

        Raises:
            RequestFault: there is none.
        """
        model = self._model(name)
        found = model.loaded.get(version) if version else model.default
        if found is not None:
            return found
        if version:
            names = ", ".join(model.loaded) or "none"
            text = f"model {name!r}: version {version!r} is not loaded (loaded: {names})"
        else:
            text = f"model {name!r} is not loaded"
        raise RequestFault("not_found", text)

    def _model(self, name: str) -> Model:
        model = self.models.get(name)
        if model is None:
            names = ", ".join(self.models)
            raise RequestFault("not_found", f"there is no model {name!r} (models: {names})")
        return model

    def ready(self) -> bool:
        """True if every model that should be loaded is."""
        return all(served.pool.ready for served in self.served())

    def index(self, ready: bool = False) -> list[dict[str, str]]:
        """The protocol's index: every version on disk or loaded, its state and why."""
        rows = []
        for name, model in self.models.items():
            try:
                known = list(model.source.versions())
            except InputError:
                known = []
            for version in dict.fromkeys([*known, *model.loaded]):
                served = model.loaded.get(version)
                if served is not None:
                    state = "READY" if served.pool.ready else "UNAVAILABLE"
                    reason = "" if served.pool.ready else served.pool.failure or "starting"
                else:
                    state, reason = "UNAVAILABLE", model.failure or "not loaded"
                if state == "READY" or not ready:
                    rows.append(
                        {"name": name, "version": version, "state": state, "reason": reason}
                    )
        return rows

    async def load(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Loads a model, or loads it again; requests run on the old versions until then.

        Args:
            name: the model.
            parameters: ``config``: JSON text with a ``version_policy`` as Triton's; by default the
                newest version is loaded.

        Raises:
            RequestFault: there is no such model, or it cannot be loaded: what was loaded stays.
        """
        model = self._model(name)
        policy = version_policy.read(parameters or {})
        async with model.lock:
            try:
                wanted = version_policy.chosen(model.source.versions(), policy)
                fresh = await self._opened(model.source, wanted)
            except InputError as error:
                model.failure = str(error)
                raise invalid(str(error)) from None
            except RequestFault as fault:
                model.failure = fault.message
                raise
            old, model.loaded, model.failure = model.loaded, fresh, ""
            self.changed()
        self._end(old)

    async def _opened(self, source: Source, wanted: Mapping[str, Any]) -> dict[str, Served]:
        fresh: dict[str, Served] = {}
        try:
            for version, folder in wanted.items():
                manifest = artifact.read(folder, verify=False)
                artifact.check_machine(manifest, folder)
                where = str(folder)
                inputs = tensors(manifest.inputs, where)
                outputs = tensors(manifest.outputs, where)
                layout = Layout.of(inputs, outputs, HEAD, self._most)
                program = Program(folder, manifest, layout, self._most, self._spin_us)
                key = (source.name, version)
                statistics = self._statistics.setdefault(key, Statistics())
                label = f"model {source.name!r} version {version!r}"
                pool = Pool(program, self._limits, label, statistics)
                await pool.start()
                fresh[version] = Served(source.name, version, manifest, pool, inputs, outputs)
        except BaseException:
            for served in fresh.values():
                await served.pool.close()
            raise
        return fresh

    async def unload(self, name: str) -> None:
        """Unloads all versions of a model; its accepted requests are answered first.

        Raises:
            RequestFault: there is no such model.
        """
        model = self._model(name)
        async with model.lock:
            old, model.loaded = model.loaded, {}
            self.changed()
        self._end(old)

    def _end(self, old: Mapping[str, Served]) -> None:
        for served in old.values():
            task = asyncio.ensure_future(_ended(served.pool, DRAIN_SECONDS))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self, seconds: float) -> None:
        """Waits for accepted requests, at most ``seconds``, and ends all instances."""
        pools = [served.pool for served in self.served()]
        await asyncio.gather(*(_ended(pool, seconds) for pool in pools), *self._ending)


async def _ended(pool: Pool, seconds: float) -> None:
    if seconds:
        await pool.drain(seconds)
    await pool.close()
