"""`scripts/quiet_pip.py` with a fake pip: a script that prints what pip prints."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts/quiet_pip.py"
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


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quiet_pip", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fake_pip(folder: Path, code: int = 0, output: str = OUTPUT) -> list[str]:
    text = f"import sys\nprint({output!r}, end='')\nsys.exit({code})\n"
    (folder / "pip.py").write_text(text, encoding="utf-8")
    return [sys.executable, str(folder / "pip.py")]


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


def test_the_output_goes_to_the_log_and_a_few_lines_to_the_console(
    script: ModuleType, tmp_path: Path
) -> None:
    stream, log = io.StringIO(), tmp_path / "install.log"
    assert script.main([str(log), *fake_pip(tmp_path)], stream) == 0
    assert log.read_text(encoding="utf-8") == OUTPUT
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 6
    assert lines[-1].endswith(f"pip's output is in {log}")
    assert "Collecting" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_failure_keeps_the_exit_code_and_prints_the_end_of_the_log(
    script: ModuleType, tmp_path: Path
) -> None:
    output = "".join(f"line {number}\n" for number in range(100)) + "ERROR: no torch\n"
    stream, log = io.StringIO(), tmp_path / "install.log"
    assert script.main([str(log), *fake_pip(tmp_path, 3, output)], stream) == 3
    assert log.read_text(encoding="utf-8") == output
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
    progress.read("Downloading a.whl (2 GB)")
    display.update(progress)
    display.clear()
    first, second, last = stream.getvalue().split("\r\x1b[K")[1:]
    assert first == "    resolving  0:00"
    assert second == "    downloading: 0 p"[:19]
    assert last == ""
    assert "\n" not in stream.getvalue()
