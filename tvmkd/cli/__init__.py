"""The command line. One file per command, imported only if the command runs or shows its help."""

from __future__ import annotations

import importlib
import io
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType

import click

from tvmkd.base import fault_report, signals
from tvmkd.base.errors import FAULT, InternalError, MissingError, TvmkdError, expected
from tvmkd.base.text import reason, suggest
from tvmkd.base.user_code import blamed
from tvmkd.base.version import __version__

# Command name: first line of its help, so that `tvmkd --help` imports no command.
VERBS = {
    "run": "Run the whole pipeline that a tvmkd.toml describes.",
    "demo": "Run the pipeline on the digits that ship with it.",
    "distill": "Train the teacher and distil the student of a tvmkd.toml.",
    "search": "Search for the best network within a latency budget.",
    "export": "Export a checkpoint to ONNX, checked against PyTorch.",
    "lower": "Show the kernels or the code that an ONNX model compiles to.",
    "tune": "Tune an ONNX model's kernels on boards over TVM RPC.",
    "build": "Compile an ONNX model to an artifact: a library and its manifest.",
    "engine": "Build engines of TensorRT and TensorRT-RTX.",
    "compare": "Measure engines head to head on ONNX models.",
    "profile": "Show where an artifact's time goes, kernel by kernel.",
    "detect": "Find objects in images with a detector, and time it.",
    "latency": "Predict times on a target from a table of its kernels' times.",
    "serve": "Serve artifacts over REST and gRPC: the Open Inference Protocol.",
    "stream": "Stream frames through an artifact and check their deadlines.",
    "deploy": "Bring a standalone artifact to boards: bundles, images, updates.",
    "gate": "Check a result against requirements: exit code 0 or 1.",
    "data": "Look at the images that a model is trained on.",
    "stack": "Install and list the compiler stacks.",
    "board": "Make, serve, list, watch, check and emulate boards.",
    "tracker": "Run a TVM tracker for boards to register with.",
    "targets": "List the targets, or show one.",
    "doctor": "Check this machine and list what is missing.",
}

# Commands that keep finished work and resume from there.
RESUMABLE = {"run", "demo", "distill", "search", "tune", "latency"}


class LazyGroup(click.Group):
    """A group whose commands are modules of a package, imported on demand.

    Attributes:
        verbs: the name of each command, and the first line of its help. The module has the same
            name.
        package: the package of the modules.
    """

    verbs: Mapping[str, str] = VERBS
    package = __name__

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the table."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, with its module imported."""
        if cmd_name not in self.verbs:
            return None
        module = importlib.import_module(f"{self.package}.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's method, but an unknown command's error suggests the closest name."""
        if args and args[0] not in self.verbs and not args[0].startswith("-"):
            ctx.fail(f'there is no command "{args[0]}"{suggest(args[0], self.verbs)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.verbs.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tvmkd")
def group() -> None:
    """Distil a PyTorch student, tune and compile it with TVM for an edge board, and measure it.

    Start with `tvmkd demo`, or `tvmkd doctor` where something does not work.

    Exit codes: 0 done, 1 the gate said no or a budget was missed, 2 wrong usage, 4 bad input, 5
    something needed is missing, 70 a fault of tvmkd or a library, 129 the terminal
    has gone, 130 interrupted.
    """


class _Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP, handled like Ctrl-C.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _stop(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        signals.hung_up()
    raise _Stopped(number)


def main(argv: Sequence[str] | None = None) -> None:
    """The ``tvmkd`` command. Ends the process with the exit code."""
    # The name of a file may be no UTF-8; it is printed as it is.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    sys.exit(execute(sys.argv[1:] if argv is None else argv))


def execute(argv: Sequence[str]) -> int:
    """Runs one command line and returns its exit code. An expected error prints one line."""
    stops = [number for number in signals.ending() if number != signal.SIGINT]
    with signals.handled(dict.fromkeys(stops, _stop)):
        return _execute(argv)


def _execute(argv: Sequence[str]) -> int:
    try:
        result = group.main(list(argv), prog_name="tvmkd", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort) as stop:
        return _interrupted(argv, 128 + getattr(stop, "number", signal.SIGINT))
    except BrokenPipeError:
        # The reader of our output has ended (`tvmkd ... | head`): print nothing more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (Exception, SystemExit) as error:
        return _failed(error, argv)


def _failed(error: BaseException, argv: Sequence[str]) -> int:
    """Shows an error in one line; a fault is written to a report. Returns the exit code."""
    known = error if isinstance(error, TvmkdError) else blamed(error) or expected(error)
    if known is None and isinstance(error, ModuleNotFoundError) and not _ours(error.name):
        name = str(error.name).partition(".")[0]
        known = MissingError(f"the package {name} is not installed: pip install {name}")
    if known is not None and known.exit_code != FAULT:
        return _fail(str(known), known.exit_code)
    if known is None:
        frames = traceback.extract_tb(error.__traceback__)
        where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
        known = InternalError(f"{type(error).__name__}{where}: {reason(error)}")
    report = fault_report.write(error, argv)
    sent = "no report could be written" if report is None else f"please send us {report}"
    return _fail(f"{known}; this is a fault of tvmkd or a library that it uses: {sent}", FAULT)


def _ours(module: str | None) -> bool:
    return module is None or module.partition(".")[0] == "tvmkd"


def _fail(message: str, code: int) -> int:
    # Not printed by rich, which would wrap the line at the terminal's width. Only a message with a
    # caret under the user's input has three lines.
    text = message if message.rstrip().endswith("^") else " ".join(message.split())
    print(f"tvmkd: error: {text}", file=sys.stderr)
    return code


def _interrupted(argv: Sequence[str], code: int) -> int:
    verb = next((word for word in argv if word in VERBS), "")
    again = shlex.join(["tvmkd", *argv])
    if verb in RESUMABLE or "--suite" in argv:
        note = f"what was done is kept; continue with: {again}"
    else:
        note = f"nothing was left half-written; start again with: {again}"
    print(f"\ntvmkd: interrupted: {note}", file=sys.stderr)
    return code
