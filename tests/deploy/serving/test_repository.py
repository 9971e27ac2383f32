"""Which versions are loaded, and what happens to the old ones; the pools start no process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from running import make_toy

from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.deploy.serving import repository as repositories
from tvmkd.deploy.serving.faults import RequestFault
from tvmkd.deploy.serving.limits import Limits
from tvmkd.deploy.serving.repository import Repository
from tvmkd.deploy.serving.sources import Source


class PoolStandIn:
    """Starts unless its folder says otherwise, and notes what happens to it."""

    def __init__(self, program: Any, limits: Limits, label: str, statistics: Any) -> None:
        self.program, self.label, self.statistics = program, label, statistics
        self.ready, self.failure = True, ""
        self.events: list[str] = []
        self.busy = asyncio.Event()
        self.busy.set()
        made.append(self)

    async def start(self) -> None:
        await asyncio.sleep(0)
        if (self.program.folder / "broken").exists():
            raise RequestFault("failed", f"{self.label}: no library")
        self.events.append("start")

    async def drain(self, seconds: float) -> None:
        self.events.append(f"drain {seconds:g}")
        await self.busy.wait()

    async def close(self) -> None:
        self.events.append("close")


made: list[PoolStandIn] = []


@pytest.fixture(autouse=True)
def pools(monkeypatch: pytest.MonkeyPatch) -> list[PoolStandIn]:
    """All pools that were made."""
    monkeypatch.setattr(repositories, "Pool", PoolStandIn)
    made.clear()
    return made


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "model.so"
    path.write_bytes(b"nobody loads this")
    return path


@pytest.fixture
def folder(tmp_path: Path, library: Path) -> Path:
    """A model with the versions 1.9, 1.10 and 2.0."""
    for version in ("1.9", "1.10", "2.0"):
        make_toy(tmp_path / "toy" / version, library)
    return tmp_path / "toy"


Steps = Callable[[Repository], Awaitable[None]]


def run(folder: Path, steps: Steps, *, starts: bool = True, **more: Any) -> Repository:
    async def main() -> Repository:
        repository = Repository({"toy": Source("toy", folder)}, Limits(), 4096, **more)
        if starts:
            await repository.start()
        await steps(repository)
        return repository

    return asyncio.run(main())


def config(policy: Any) -> dict[str, str]:
    return {"config": json.dumps({"version_policy": policy})}


def versions(repository: Repository) -> list[str]:
    return [served.version for served in repository.served()]


def test_the_newest_version_is_loaded_first(folder: Path) -> None:
    async def steps(repository: Repository) -> None:
        assert versions(repository) == ["2.0"]
        served = repository.get("toy")
        assert repository.get("toy", "2.0") is served
        assert served.pool.label == "model 'toy' version '2.0'"
        assert served.input_numbers == {"x": 0, "y": 1}
        assert served.metadata(["2.0"])["platform"] == "tvmkd_relax"

    run(folder, steps)


def test_a_policy_chooses_versions(folder: Path) -> None:
    async def steps(repository: Repository) -> None:
        await repository.load("toy", config({"latest": {"num_versions": 2}}))
        assert versions(repository) == ["1.10", "2.0"]
        assert repository.get("toy") is repository.get("toy", "2.0")
        await repository.load("toy", config({"specific": {"versions": ["1.9"]}}))
        assert versions(repository) == ["1.9"]
        assert repository.get("toy").version == "1.9"

    run(folder, steps)


@pytest.mark.parametrize("policy", [{"newest": {}}, {"specific": {"versions": ["7"]}}])
def test_a_wrong_policy_changes_nothing(folder: Path, policy: Any) -> None:
    async def steps(repository: Repository) -> None:
        before = repository.get("toy")
        with pytest.raises(RequestFault) as error:
            await repository.load("toy", config(policy))
        assert error.value.status == 400
        assert repository.get("toy") is before
        assert made[0].events == ["start"]

    run(folder, steps)


def test_a_swap_answers_what_the_old_version_accepted(folder: Path) -> None:
    changes: list[list[str]] = []

    async def steps(repository: Repository) -> None:
        repository.changed = lambda: changes.append(versions(repository))
        old = made[0]
        old.busy.clear()  # it computes
        await repository.load("toy", config({"specific": {"versions": ["1.9"]}}))
        assert versions(repository) == ["1.9"]
        await asyncio.sleep(0)
        assert old.events == ["start", f"drain {repositories.DRAIN_SECONDS:g}"]
        old.busy.set()
        await repository.close(5.0)
        assert old.events[2:] == ["close"]
        assert made[1].events == ["start", "drain 5", "close"]

    run(folder, steps)
    assert changes == [["1.9"]]


def test_counters_go_on_when_a_version_is_loaded_again(folder: Path) -> None:
    async def steps(repository: Repository) -> None:
        repository.get("toy").statistics.requests = 7
        await repository.load("toy")
        assert len(made) == 2
        assert repository.get("toy").statistics.requests == 7
        await repository.load("toy", config({"specific": {"versions": ["1.9"]}}))
        assert repository.get("toy").statistics.requests == 0

    run(folder, steps)


def test_a_version_that_fails_to_start_changes_nothing_and_ends_the_others(folder: Path) -> None:
    async def steps(repository: Repository) -> None:
        before = repository.get("toy")
        (folder / "1.10" / "broken").touch()
        with pytest.raises(RequestFault, match="no library"):
            await repository.load("toy", config({"all": {}}))
        assert repository.get("toy") is before
        assert [pool.events for pool in made] == [["start"], ["start", "close"], []]
        rows = {row["version"]: (row["state"], row["reason"]) for row in repository.index()}
        assert rows["2.0"] == ("READY", "")
        assert rows["1.9"] == ("UNAVAILABLE", "model 'toy' version '1.10': no library")
        (folder / "1.10" / "broken").unlink()
        await repository.load("toy", config({"all": {}}))
        assert [row["state"] for row in repository.index()] == ["READY"] * 3

    run(folder, steps)


def test_a_start_that_fails_leaves_nothing_running(folder: Path, library: Path) -> None:
    other = make_toy(folder.parent / "other", library)
    (other / "broken").touch()

    async def main() -> None:
        sources = {"toy": Source("toy", folder), "other": Source("other", other)}
        with pytest.raises(InputError, match="model 'other' version '1': no library"):
            await Repository(sources, Limits(), 4096).start()

    asyncio.run(main())
    assert made[0].events == ["start", "close"]


def test_an_artifact_for_another_machine(tmp_path: Path, library: Path) -> None:
    target = targets.load("jetson-nano").to_dict()
    folder = make_toy(tmp_path / "toy", library, target=target)

    async def steps(repository: Repository) -> None:
        with pytest.raises(RequestFault, match="cannot run here") as error:
            await repository.load("toy")
        assert error.value.status == 400
        assert repository.models["toy"].failure == error.value.message

    run(folder, steps, starts=False)
    assert made == []


def test_unloading_and_what_is_not_loaded(folder: Path) -> None:
    async def steps(repository: Repository) -> None:
        await repository.unload("toy")
        for given, text in (
            (("toy",), "model 'toy' is not loaded"),
            (("toy", "2.0"), r"version '2.0' is not loaded \(loaded: none\)"),
            (("nobody",), r"there is no model 'nobody' \(models: toy\)"),
        ):
            with pytest.raises(RequestFault, match=text) as error:
                repository.get(*given)
            assert error.value.status == 404
        for call in (repository.load, repository.unload):
            with pytest.raises(RequestFault, match="there is no model"):
                await call("nobody")
        assert {row["reason"] for row in repository.index()} == {"not loaded"}
        assert repository.index(ready=True) == []
        assert repository.ready(), "what nobody wants loaded is no fault"
        await repository.close(1.0)
        assert made[0].events == ["start", f"drain {repositories.DRAIN_SECONDS:g}", "close"]

    run(folder, steps)


def test_an_instance_that_cannot_start_again_is_told_with_its_reason(folder: Path) -> None:
    async def steps(repository: Repository) -> None:
        made[0].ready, made[0].failure = False, "it ended with exit code 3"
        assert not repository.ready()
        row = repository.index()[-1]
        assert (row["version"], row["state"], row["reason"]) == (
            "2.0", "UNAVAILABLE", "it ended with exit code 3",
        )  # fmt: skip
        made[0].failure = ""
        assert repository.index()[-1]["reason"] == "starting"

    run(folder, steps)


def test_the_index_shows_loaded_versions_whose_files_have_gone(folder: Path) -> None:
    async def steps(repository: Repository) -> None:
        folder.rename(folder.with_name("elsewhere"))
        assert [(row["version"], row["state"]) for row in repository.index()] == [("2.0", "READY")]
        with pytest.raises(RequestFault, match="there is no artifact any more"):
            await repository.load("toy")
        assert repository.get("toy").version == "2.0"

    run(folder, steps)


def test_two_loads_of_one_model_do_not_mix(folder: Path) -> None:
    async def steps(repository: Repository) -> None:
        await asyncio.gather(
            repository.load("toy", config({"all": {}})),
            repository.load("toy", config({"specific": {"versions": ["1.9"]}})),
        )
        assert versions(repository) == ["1.9"]
        await repository.close(1.0)
        left = [pool for pool in made if pool.events[-1] != "close"]
        assert left == [], "no instance is forgotten"

    run(folder, steps)
