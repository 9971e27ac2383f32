"""`scripts/install.py` with a fake pip and uv: scripts that print what these print."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType

import by_path
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts/install.py"
OUTPUT = """\
Obtaining file:///work
  Installing build dependencies: finished with status 'done'
Collecting torch<2.15,>=2.13 (from tvmkd==0.1)
  Downloading torch-2.13.0-cp311.whl.metadata (30 kB)
Collecting numpy
  Using cached numpy-2.3.whl (16.6 MB)
Collecting torch
Downloading torch-2.13.0-cp311.whl (1.2 GB)
Downloading tomli-2.whl (500 bytes)
Building wheels for collected packages: tvmkd
Building wheel for tvmkd (pyproject.toml): started
Installing collected packages: numpy, torch, tvmkd
Successfully installed numpy-2.3 torch-2.13.0 tvmkd-0.1
"""
UV_OUTPUT = """\
Using Python 3.11.7 environment at: v
Resolved 3 packages in 6.60s
   Building tvmkd @ file:///work
Downloading torch (1.2GiB)
Downloading tomli (500.0KiB)
      Built tvmkd @ file:///work
 Downloaded torch
Prepared 3 packages in 1m 02s
Installed 3 packages in 12.0s
 + torch==2.14.1
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return by_path.module("scripts/install.py", "install_script")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def ways(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Replaces the commands: each is an exit code and what is printed before."""

    def replace(*ways: list[tuple[int, str]]) -> None:
        def command(code: int, output: str) -> list[str]:
            return [sys.executable, "-c", f"print({output!r}, end=''); raise SystemExit({code})"]

        made = [[command(*one) for one in way] for way in ways]
        monkeypatch.setattr(script, "commands", lambda arguments: made)

    return replace


def test_phases_and_sizes_are_read_from_pips_lines(script: ModuleType) -> None:
    progress = script.Progress()
    texts = []
    for line in OUTPUT.splitlines():
        progress.read(line)
        texts.append(progress.text())
    assert list(dict.fromkeys(texts)) == [
        "resolving",
        "downloading: 1 packages, 0 MB",
        "downloading: 2 packages, 0 MB",
        "downloading: 2 packages, 1,200 MB",
        "building",
        "installing 3 packages",
    ]
    assert progress.megabytes == pytest.approx(1200.0305)


def test_phases_and_sizes_are_read_from_uvs_lines(script: ModuleType) -> None:
    progress = script.Progress()
    texts = []
    for line in UV_OUTPUT.splitlines():
        progress.read(line)
        texts.append(progress.text())
    assert list(dict.fromkeys(texts)) == [
        "resolving",
        "downloading: 1 packages, 1,288 MB",
        "downloading: 2 packages, 1,289 MB",
        "installing 3 packages",
    ]


def test_uv_gets_what_pip_is_configured_with(script: ModuleType) -> None:
    config = [
        ":env:.find-links='/opt/a /opt/b'",
        "global.extra-index-url='file:///one file:///two'",
        "global.constraint='/etc/c.txt'",
        "global.cert='/etc/ca.crt'",
        "install.no-input='1'",
        "WARNING: something else",
    ]
    assert script.settings(config, {"SSL_CERT_FILE": "own"}) == {
        "UV_FIND_LINKS": "/opt/a,/opt/b",
        "UV_INDEX": "file:///one file:///two",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_CONSTRAINT": "/etc/c.txt",
    }
    assert script.settings(["global.index-url='https://here/simple'"], {}) == {
        "UV_DEFAULT_INDEX": "https://here/simple"
    }


def test_the_commands_are_uv_then_pip_with_the_same_arguments(script: ModuleType) -> None:
    (get, uv), (pip,) = script.commands(["-e", ".[dev]"], "python")
    assert get[-2:] == ["install", "uv"]
    assert uv[1:4] == ["-m", "uv", "pip"]
    assert uv[uv.index("--python") + 1] == "python"
    assert uv[-2:] == pip[-2:] == ["-e", ".[dev]"]


@pytest.mark.parametrize(
    ("ways_to", "code", "printed"),
    [
        ([[(0, "got"), (0, "with uv")], [(0, "with pip")]], 0, "gotwith uv"),
        ([[(1, "none"), (0, "with uv")], [(0, "with pip")]], 0, "nonewith pip"),
        ([[(0, "got"), (2, "half")], [(0, "with pip")]], 0, "gothalfwith pip"),
        ([[(1, "none")], [(7, "no network")]], 7, "noneno network"),
    ],
)
def test_pip_installs_where_uv_cannot(
    script: ModuleType, ways, tmp_path: Path, ways_to: list, code: int, printed: str
) -> None:
    ways(*ways_to)
    log = tmp_path / "install.log"
    assert script.main([str(log)], io.StringIO()) == code
    lines = log.read_text(encoding="utf-8").splitlines()
    # The log has each command, and what it printed follows on a line of its own.
    assert "".join(line.partition("$ ")[0] for line in lines) == printed


def test_the_output_goes_to_the_log_and_a_few_lines_to_the_console(
    script: ModuleType, ways, tmp_path: Path
) -> None:
    stream, log = io.StringIO(), tmp_path / "install.log"
    ways([(0, OUTPUT)])
    assert script.main([str(log)], stream) == 0
    assert log.read_text(encoding="utf-8").partition("\n")[2] == OUTPUT
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 6
    assert lines[-1].endswith(f"the output is in {log}")
    assert "Collecting" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_failure_keeps_the_exit_code_and_prints_the_end_of_the_log(
    script: ModuleType, ways, tmp_path: Path
) -> None:
    output = "".join(f"line {number}\n" for number in range(100)) + "ERROR: no torch\n"
    stream, log = io.StringIO(), tmp_path / "install.log"
    ways([(3, output)])
    assert script.main([str(log)], stream) == 3
    assert log.read_text(encoding="utf-8").partition("\n")[2] == output
    shown = stream.getvalue()
    assert "ERROR: no torch" in shown
    assert "line 99" in shown
    assert "line 75" not in shown
    assert shown.splitlines()[-1].endswith(f"exit code 3; all of its output is in {log}")


def test_without_a_terminal_a_phase_is_printed_once_until_it_takes_long(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(script.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    progress, display = script.Progress(), script.Display(stream)
    for second in (0.0, 1.0, 29.0, 30.0, 31.0, 95.0):
        now[0] = second
        display.update(progress)
    progress.read("Installing collected packages: a, b")
    display.update(progress)
    display.clear()
    assert stream.getvalue() == (
        "    resolving  0:00\n    resolving  0:30\n    resolving  1:35\n"
        "    installing 2 packages  1:35\n"
    )


def test_on_a_terminal_one_line_is_redrawn_and_removed(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    progress, display = script.Progress(), script.Display(stream)
    display.update(progress)
    progress.read("Downloading a-1.whl (2 GB)")
    display.update(progress)
    display.clear()
    first, second, last = stream.getvalue().split("\r\x1b[K")[1:]
    assert first == "    resolving  0:00"
    assert second == "    downloading: 0 p"[:19]
    assert last == ""
    assert "\n" not in stream.getvalue()
