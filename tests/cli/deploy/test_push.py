from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from wires import Wire

from tvmkd.base import resources


@pytest.fixture
def push(tvmkd: Any, wire: Wire) -> Callable[..., Any]:
    """Runs ``tvmkd deploy push`` to the board behind the stand-in for ssh."""
    return lambda *given: tvmkd("deploy", "push", "user@nano", "--root", wire.machine.root, *given)


def test_a_bundle(push: Any, wire: Wire, bundles: Mapping[str, Path], keys: Path) -> None:
    done = push(bundles["1.1"], "--pubkey", keys / "ours.pub")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"user@nano: sample 1.1 in {wire.machine.root}/sample/versions/1.1",
        "user@nano: no service runs",
    ]
    assert "tvmkd-install: self-test: sample: 2 outputs as recorded" in done.err
    done = push(bundles["1.2"], "--pubkey", keys / "theirs.pub")
    assert (done.code, done.out) == (4, "")
    assert done.line.startswith(f"{bundles['1.2']}: the signature is not right")
    assert wire.machine.status()["version"] == "1.1"


def test_an_artifact_and_back(
    artifacts: Mapping[int, Path],
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    # The stand-in's home is the board's, too: the compiled programs stay where they are.
    here = resources.cache("native")
    wire: Wire = request.getfixturevalue("wire")
    original = resources.cache
    monkeypatch.setattr(
        resources, "cache", lambda name: here if name == "native" else original(name)
    )
    push = request.getfixturevalue("push")
    key = ["--sign", keys / "ours.key", "--pubkey", keys / "ours.pub"]
    done = push(artifacts[1], *key, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    # Numbered by its time of build.
    assert (found["destination"], found["name"]) == ("user@nano", "sample")
    assert (found["version"], found["resumed"]) == ("2026.11.29.06.00.00", 0)
    assert found["folder"] == f"{wire.machine.root}/sample/versions/2026.11.29.06.00.00"
    done = push(artifacts[2], *key, "--version", "2.0", "--keep", "2", "--no-service")
    assert done.code == 0, done.err
    commands = (wire.folder / "commands").read_text().splitlines()
    assert any("--keep 2 --pubkey" in line and "--no-service" in line for line in commands)
    done = push("--rollback", "--name", "sample", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["version"] == "2026.11.29.06.00.00"
    assert "went back from sample 2.0 to 2026.11.29.06.00.00" in done.err
    done = push("--rollback", "--name", "other")
    assert done.code == 4
    assert done.line.startswith("user@nano: other is not installed in ")


def test_a_board_that_cannot_be_reached(
    push: Any, bundles: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_SAYS", "ssh: connect to host nano port 22: No route to host")
    done = push(bundles["1.1"])
    assert (done.code, done.out) == (5, "")
    assert done.line == "user@nano: ssh: connect to host nano port 22: No route to host"


def test_nothing_is_sent_before_it_is_verified(
    push: Any, wire: Wire, bundles: Mapping[str, Path], keys: Path, tmp_path: Path
) -> None:
    for given in (
        (tmp_path / "none.tar.gz",),
        (bundles["unsigned"], "--pubkey", keys / "ours.pub"),
        (bundles["1.1"], "--pubkey", tmp_path / "none.pub"),
        (tmp_path,),  # no artifact
    ):
        done = push(*given)
        assert done.code == 4, done.err
    assert not (wire.folder / "commands").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((), "give a bundle, or --rollback"),
        (("x.tar.gz", "--rollback"), "give a bundle, or --rollback"),
        (("x.tar.gz", "--keep", "1"), "--keep"),
    ],
)
def test_wrong_usage(tvmkd: Any, given: tuple[str, ...], says: str) -> None:
    done = tvmkd("deploy", "push", "user@nano", *given)
    assert done.code == 2
    assert says in done.err


def test_no_destination(tvmkd: Any) -> None:
    done = tvmkd("deploy", "push", "user@nano -oProxyCommand=x", "--rollback")
    assert done.code == 2
    assert "give USER@HOST" in done.line
