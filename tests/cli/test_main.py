"""The command line as a whole: what it imports, its help, and how it ends."""

from __future__ import annotations

import errno
import importlib
import inspect
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from tvmkd import cli
from tvmkd.base.errors import MissingError, TvmkdError, WorkerDied
from tvmkd.cli import board, data, deploy, engine, latency, stack

HEAVY = {
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "pydantic",
    "rich",
    "scipy",
    "sklearn",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "torchvision",
    "tvm",
    "tvm_ffi",
    "xgboost",
}
PRINT_MODULES = (
    "import json, sys\n"
    "from tvmkd import cli\n"
    "code = cli.execute(sys.argv[1:])\n"
    "print(json.dumps([code, sorted({name.partition('.')[0] for name in sys.modules})]))\n"
)
COMMANDS = [
    *[
        ((verb,), first)
        for verb, first in cli.VERBS.items()
        if verb not in {"board", "data", "deploy", "engine", "latency", "stack"}
    ],
    *[(("board", verb), first) for verb, first in board.VERBS.items()],
    *[(("data", verb), first) for verb, first in data.VERBS.items()],
    *[(("deploy", verb), first) for verb, first in deploy.VERBS.items()],
    *[(("engine", verb), first) for verb, first in engine.VERBS.items()],
    *[(("latency", verb), first) for verb, first in latency.VERBS.items()],
    *[(("stack", verb), first) for verb, first in stack.VERBS.items()],
]


def loaded_by(*argv: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES, *argv], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return set(modules)


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["targets"], ["tune", "--help"]])
def test_help_loads_nothing_heavy(argv: list[str]) -> None:
    assert not loaded_by(*argv) & HEAVY


def test_no_verb_loads_anything_heavy_before_it_runs() -> None:
    script = "import sys\n" + "".join(f"import tvmkd.cli.{verb}\n" for verb in cli.VERBS)
    script += "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & HEAVY


def test_the_package_itself_loads_nothing_heavy() -> None:
    script = "import sys, tvmkd; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & (HEAVY | {"click"})


@pytest.mark.parametrize(("words", "first"), COMMANDS)
def test_every_verb_has_help_with_an_example(
    words: tuple[str, ...], first: str, tvmkd: Any
) -> None:
    done = tvmkd(*words, "--help")
    assert done.code == 0
    assert f"tvmkd {' '.join(words)}" in done.out.partition("Example")[2]
    command = importlib.import_module(f"tvmkd.cli.{'.'.join(words)}").command
    assert command.help.splitlines()[0] == first


@pytest.mark.parametrize(("words", "first"), COMMANDS)
def test_the_options_in_the_examples_exist(words: tuple[str, ...], first: str) -> None:
    command: click.Command = importlib.import_module(f"tvmkd.cli.{'.'.join(words)}").command
    known = {name for option in command.params for name in option.opts} | {"--help"}
    lines = inspect.cleandoc(command.help or "").splitlines()
    examples = [line for line in lines if line.startswith(f"  tvmkd {' '.join(words)} ")]
    assert examples or words == ("tracker",)
    for line in examples:
        assert {word for word in line.split() if word.startswith("-")} <= known, line


def test_the_list_of_verbs_is_in_the_help(tvmkd: Any) -> None:
    done = tvmkd("--help")
    assert done.code == 0
    for verb, help_line in cli.VERBS.items():
        assert f"{verb} " in done.out
        assert help_line in done.out


def test_a_misspelt_verb_gets_the_nearest(tvmkd: Any) -> None:
    done = tvmkd("tunne")
    assert done.code == 2
    assert 'there is no command "tunne"; did you mean "tune"?' in done.err


def test_a_misspelt_option_is_wrong_usage(tvmkd: Any) -> None:
    assert tvmkd("targets", "--jsn").code == 2


class Raising:
    """Stands in for a verb that ends in an exception."""

    def __init__(self, error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        self.command = command


@pytest.fixture
def verb_that_raises(monkeypatch: pytest.MonkeyPatch) -> Any:
    def replace(error: BaseException) -> None:
        fake = Raising(error)
        monkeypatch.setattr(importlib, "import_module", lambda name: fake)

    return replace


def test_a_missing_thing_ends_with_5(tvmkd: Any, verb_that_raises: Any) -> None:
    verb_that_raises(MissingError("no\n board"))
    done = tvmkd("tune")
    assert (done.code, done.line) == (5, "no board")


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tvmkd: Any, verb_that_raises: Any) -> None:
    verb_that_raises(KeyboardInterrupt())
    done = tvmkd("tune")
    assert done.code == 130
    assert done.err.strip() == (
        "tvmkd: interrupted: what was done is kept; continue with: tvmkd tune"
    )
    assert "start again with: tvmkd compare" in tvmkd("compare").err


def test_a_full_disk_is_one_line(tvmkd: Any, verb_that_raises: Any) -> None:
    verb_that_raises(OSError(errno.ENOSPC, "No space left on device", "/mnt/x"))
    done = tvmkd("build")
    assert done.code == 4
    assert done.line.startswith("/mnt/x: the disk is full; free some space")


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of fault reports."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "tvmkd" / "reports"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "I/O error"), r"^OSError at test_main.py:\d+: \[Errno 5\] I/O error; "),
        (KeyError("x"), r"^KeyError at test_main.py:\d+: 'x'; this is a fault of tvmkd"),
        (RuntimeError("Check failed\nin C++"), r"RuntimeError at \S+: Check failed; "),
        (AssertionError(), r"^AssertionError at test_main.py:\d+: AssertionError; "),
        (ImportError("cannot import name 'x'"), "ImportError"),
        (ModuleNotFoundError("no", name="tvmkd.gone"), "ModuleNotFoundError"),
        (SystemExit(1), r"^SystemExit at test_main.py:\d+: 1; "),
        (TvmkdError("the linker broke"), r"^the linker broke; this is a fault"),
        (WorkerDied("m.onnx: lowering: the worker ended"), r"^m.onnx: lowering: the worker"),
    ],
)
def test_what_nobody_expected_ends_with_70_and_a_report(
    tvmkd: Any, verb_that_raises: Any, reports: Path, error: BaseException, said: str
) -> None:
    verb_that_raises(error)
    done = tvmkd("build")
    assert done.code == 70
    assert re.search(said, done.line)
    (report,) = reports.iterdir()
    assert done.line.endswith(f"please send us {report}")
    assert "test_main.py" in report.read_text()
    assert "command: tvmkd build\n" in report.read_text()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 4, "/x: Permission denied; "),
        (MemoryError("Unable to allocate 9 GiB"), 5, "not enough memory (Unable"),
        (ModuleNotFoundError("no", name="onnxscript.x"), 5, "package onnxscript is not installed"),
    ],
)
def test_what_a_machine_lacks_is_no_fault(
    tvmkd: Any, verb_that_raises: Any, reports: Path, error: Exception, code: int, said: str
) -> None:
    verb_that_raises(error)
    done = tvmkd("build")
    assert done.code == code
    assert said in done.line
    assert not reports.exists()


def test_a_gone_reader_is_no_error() -> None:
    script = f"{sys.executable} -m tvmkd targets --json | head -c 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_as_ctrl_c_and_the_handlers_are_set_back(
    tvmkd: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def ended(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(number)
        finally:
            if number == signal.SIGHUP:
                signal.raise_signal(number)  # from the kernel, after the shell's

    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)]
    monkeypatch.setattr(cli.group, "main", ended)
    done = tvmkd("stack")
    assert done.code == 128 + number
    assert "tvmkd: interrupted: nothing was left half-written" in done.err
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)] == before


def test_nohup_goes_on(tvmkd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.group, "main", lambda *_, **__: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert tvmkd("stack").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
