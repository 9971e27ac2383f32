"""Fixtures of bundles, for the tests of the rooms that use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import toy

from tvmkd import targets
from tvmkd.base.errors import MissingError
from tvmkd.base.toolchain import zig
from tvmkd.deploy.bundles import bundle, signing


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs of keys, ``ours`` and ``theirs``."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        signing.generate(folder / f"{name}.key", None)
    return folder


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Path]:
    """Standalone artifacts for this machine, by what their library adds."""
    try:
        zig()
    except MissingError as error:
        pytest.skip(str(error))
    folder, target = tmp_path_factory.mktemp("artifacts"), targets.load("host")
    return {at: toy.artifact_folder(folder / str(at), target, at) for at in (1, 2, 3)}


@pytest.fixture(scope="session")
def bundles(
    artifacts: Mapping[int, Path], keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """Bundles of ``sample``: 1.1, 1.2 and 1.3 signed by ``ours``; ``unsigned`` and ``theirs``."""
    folder = tmp_path_factory.mktemp("bundles")
    ours, theirs = (
        bundle.Options(key=signing.secret_key(keys / f"{name}.key", lambda _: ""))
        for name in ("ours", "theirs")
    )
    made = {
        f"1.{at}": toy.make(artifacts[at], folder / f"sample-1.{at}.tar.gz", ours).path
        for at in (1, 2, 3)
    }
    made["theirs"] = toy.make(artifacts[3], folder / "sample-1.9.tar.gz", theirs).path
    made["unsigned"] = toy.make(artifacts[1], folder / "sample-1.8.tar.gz").path
    return made
