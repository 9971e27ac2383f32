"""The text of the systemd unit; test_install.py runs its command."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tvmkd.deploy.bundles.service import unit


def _sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """Keys and values by section, in order: a key may come twice."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[section].append((key, value))
    return found


def test_what_it_starts() -> None:
    text = unit("student", None, "lib/libstudent.so")
    sections = _sections(text)
    assert list(sections) == ["Unit", "Service", "Install"]
    service = dict(sections["Service"])
    assert service["ExecStart"] == (
        "@HOME@/current/bin/tvmkd-server @HOME@/current/lib/libstudent.so"
        " --name student $TVMKD_SERVE"
    )
    # Loopback by default; the board's owner may say otherwise in server.env, which comes later.
    keys = [key for key, _ in sections["Service"]]
    assert service["Environment"] == '"TVMKD_SERVE=--host 127.0.0.1 --http-port 8000"'
    assert keys.index("Environment") < keys.index("EnvironmentFile")
    assert service["Restart"] == "always"
    assert (service["DynamicUser"], service["ProtectSystem"]) == ("yes", "strict")
    assert dict(sections["Unit"])["Description"].startswith("student,")
    assert dict(sections["Install"]) == {"WantedBy": "multi-user.target"}
    assert "power" not in str(sections["Service"]), "the board's power is left alone"
    # install.sh knows one placeholder only.
    assert set(text.replace("@HOME@", "").split("@")) == {text.replace("@HOME@", "")}


@pytest.mark.parametrize("mode", ["max", "5w"])
def test_a_power_mode_is_set_before_and_taken_back_after(mode: str) -> None:
    plain = unit("a", None, "lib/liba.so").splitlines()
    with_power = unit("a", mode, "lib/liba.so").splitlines()
    added = [
        # With +: as root, though the server is nobody in particular.
        f"ExecStartPre=+@HOME@/current/power.sh {mode}",
        "ExecStopPost=+@HOME@/current/power.sh restore",
    ]
    at = with_power.index(added[0])
    assert with_power[at : at + 2] == added
    assert with_power[:at] + with_power[at + 2 :] == plain
    assert with_power[at + 2].startswith("ExecStart="), "inside of [Service], before the server"
