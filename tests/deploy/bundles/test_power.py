"""power.sh with stand-ins for the Nano's programs."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import fake_nano
import pytest

from tvmkd import targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.bundles import power, service

NVPMODEL = """#!/bin/sh
echo "nvpmodel $*" >> "$FAKE/calls"
case $1 in
  -q) printf 'NV Power Mode: X\\n%s\\n' "$(cat "$FAKE/mode")" ;;
  -m) echo "$2" > "$FAKE/mode" ;;
esac
"""
# As JetPack's: it asks before it replaces a file, and keeps the old one if nobody answers.
CLOCKS = """#!/bin/sh
echo "jetson_clocks $1" >> "$FAKE/calls"
case $1 in
  --store)
    if [ -e "$2" ]; then read -r answer; [ "$answer" = y ] || exit 0; fi
    cp "$FAKE/clocks" "$2"
    ;;
  --restore) cp "$2" "$FAKE/clocks" ;;
  "") echo max > "$FAKE/clocks" ;;
esac
"""


class Nano:
    """A board's files, and the script where install.sh puts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fake = folder / "fake"
        self.fake.mkdir()
        for name, text in (("nvpmodel", NVPMODEL), ("jetson_clocks", CLOCKS)):
            (self.fake / name).write_text(text)
            (self.fake / name).chmod(0o755)
        (self.fake / "mode").write_text("1\n")
        (self.fake / "clocks").write_text("before\n")
        self.root = fake_nano.plant(folder / "root")
        self.script = folder / "student" / "versions" / "1.0" / "power.sh"
        self.script.parent.mkdir(parents=True)
        text = power.script(targets.load("jetson-nano"))
        assert text is not None
        self.script.write_text(text)

    def run(self, mode: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": path or f"{self.fake}:{os.environ['PATH']}",
            "FAKE": str(self.fake),
            "TVMKD_BOARD_ROOT": str(self.root),
        }
        return subprocess.run(
            ["sh", self.script, mode], env=environment, capture_output=True, text=True
        )

    @property
    def now(self) -> tuple[str, str, str]:
        """Power mode, clocks, governor."""
        governor = self.root / fake_nano.CPUFREQ.format(0, "governor")
        files = (self.fake / "mode", self.fake / "clocks", governor)
        mode, clocks, kind = (path.read_text().strip() for path in files)
        return mode, clocks, kind

    def set_governor(self, name: str) -> None:
        (self.root / fake_nano.CPUFREQ.format(0, "governor")).write_text(name)


@pytest.fixture
def nano(tmp_path: Path) -> Nano:
    return Nano(tmp_path)


def test_max_and_back(nano: Nano) -> None:
    before = nano.now
    assert before == ("1", "before", "schedutil")
    assert nano.run("max").returncode == 0
    nano.set_governor("performance")
    assert nano.now == ("0", "max", "performance")
    # A second start, or another mode, does not take this for what was there before.
    assert nano.run("max").returncode == 0
    assert nano.run("idle").returncode == 0
    assert nano.run("restore").returncode == 0
    assert nano.now == before
    calls = (nano.fake / "calls").read_text().splitlines()
    assert calls[-2:] == ["jetson_clocks --restore", "nvpmodel -m 1"]
    # There is nothing more to put back.
    (nano.fake / "mode").write_text("7\n")
    assert nano.run("restore").returncode == 0
    assert nano.now[0] == "7"


def test_the_power_mode_outlives_a_reboot(nano: Nano) -> None:
    assert nano.run("max").returncode == 0
    # The plug is pulled: clocks are the system's own again, nvpmodel's mode is not, /run is empty.
    for path in sorted((nano.root / "run").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (nano.fake / "clocks").write_text("after boot\n")
    assert nano.run("max").returncode == 0
    assert nano.run("restore").returncode == 0
    assert nano.now[:2] == ("1", "after boot")


def test_a_program_that_fails_or_is_missing(nano: Nano) -> None:
    (nano.fake / "jetson_clocks").write_text("#!/bin/sh\nexit 3\n")
    done = nano.run("max")
    assert done.returncode == 1
    assert "jetson_clocks failed" in done.stderr
    assert nano.now[0] == "0"
    for name in ("jetson_clocks", "nvpmodel"):
        (nano.fake / name).unlink()
    done = nano.run("max")
    assert done.returncode == 0
    assert "nvpmodel is not on this board: skipped" in done.stderr


def test_usage(nano: Nano) -> None:
    done = nano.run("turbo")
    assert done.returncode == 2
    assert "the modes: max idle" in done.stderr


def test_modes_of_a_target() -> None:
    nano = targets.load("jetson-nano")
    assert list(power.modes(nano)) == ["max", "idle"]
    power.check_mode(nano, "max")
    with pytest.raises(UsageError, match="--power turbo: jetson-nano has max, idle"):
        power.check_mode(nano, "turbo")
    quoted = dataclasses.replace(nano, power={"max": ["set 'a b' $x; rm"]})
    assert "change set 'a b' '$x;' rm\n" in (power.script(quoted) or "")
    for table in ({"max": "nvpmodel"}, {"restore": ["x"]}, {"a b": ["x"]}, {"max": ["'"]}):
        with pytest.raises(InputError, match=r"\[power\]"):
            power.script(dataclasses.replace(nano, power=table))
    assert power.script(dataclasses.replace(nano, power={"watts": 10})) is None


def test_the_unit() -> None:
    text = service.unit("student", "max", "lib/x.so")
    assert "ExecStartPre=+@HOME@/current/power.sh max\n" in text
    assert "ExecStopPost=+@HOME@/current/power.sh restore\n" in text
    assert "current/bin/tvmkd-server @HOME@/current/lib/x.so --name student $TVMKD_SERVE" in text
    assert "power.sh max" not in service.unit("student", None, "x")
    assert "DynamicUser=yes" in text
