"""The Grafana dashboard and the Prometheus rules that ship: written for the user to import."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from tvmkd.base.files import check_output, write_text
from tvmkd.base.folders import undone

FILES = ("grafana.json", "rules.yml", "prometheus.yml")


def text(name: str) -> str:
    """The content of one of `FILES`."""
    return (resources.files(__package__) / "data" / name).read_text(encoding="utf-8")


def write(folder: Path) -> list[Path]:
    """Writes the files into a folder and returns their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    check_output(folder, folder=True)
    paths = []
    with undone(folder):
        for name in FILES:
            write_text(folder / name, text(name))
            paths.append(folder / name)
    return paths
