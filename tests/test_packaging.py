"""What is installed is what is in the checkout."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_every_room_is_listed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split()) - {"tvmkd._schedules", "tvmkd._targets", "#"}
    rooms = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for path in (ROOT / "tvmkd").rglob("*.py")
    }
    data = {"tvmkd.demo", "tvmkd.recipes"}
    assert {name for name in listed if name.startswith("tvmkd")} - data == rooms


@pytest.mark.slow
def test_a_wheel_holds_targets_schedules_and_the_demo(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tvmkd", "targets", "schedules"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, source], check=True, timeout=240)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(site)
    for folder in ("targets", "schedules"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".toml", ".json", ".gz"}:
                assert f"tvmkd/_{folder}/{path.relative_to(ROOT / folder)}" in names
    assert {"tvmkd/demo/tvmkd.toml", "tvmkd/recipes/classification.toml", "tvmkd/py.typed"} <= names
    assert {f"tvmkd/report/templates/{name}" for name in ("base.html", "style.css")} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    # And they are found from there, with no checkout in sight.
    script = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from tvmkd import targets; "
        "from tvmkd.base import resources; "
        "targets.load('jetson-nano'); print(resources.folder('targets'))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == str(site / "tvmkd/_targets"), done.stderr
