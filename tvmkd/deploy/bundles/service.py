"""The systemd unit of a bundle."""

from __future__ import annotations

from tvmkd.deploy.bundles.programs import SERVER
from tvmkd.deploy.bundles.tool import BOARD

SERVE = "--host 127.0.0.1 --http-port 8000"
"""The server's options unless ``server.env`` on the board gives others: only the board itself can
reach it."""


def unit(name: str, power: str | None, library: str) -> str:
    """The unit's text, with ``@HOME@`` for the folder that install.sh chooses.

    Args:
        name: the bundle's; what the model is called in URLs, too.
        power: the power mode while it serves; None: the board's power is left alone.
        library: its path in the bundle.
    """
    text = (BOARD / "tvmkd.service").read_text(encoding="utf-8")
    lines = ""
    if power is not None:
        # As root, whatever user serves; what was there before comes back when it has stopped.
        lines = f"ExecStartPre=+@HOME@/current/power.sh {power}\n"
        lines += "ExecStopPost=+@HOME@/current/power.sh restore\n"
    text = text.replace("# @POWER@\n", lines)
    return (
        text.replace("@NAME@", name)
        .replace("@SERVE@", SERVE)
        .replace("@SERVER@", SERVER)
        .replace("@LIBRARY@", library)
    )
