"""``tvmkd stream``."""

from __future__ import annotations

import contextlib
import functools
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvmkd.cli._options import PATH, json_option, print_json
from tvmkd.cli.detect import duration

if TYPE_CHECKING:
    from tvmkd.deploy.streaming.plan import Plan
    from tvmkd.deploy.streaming.result import StreamResult
    from tvmkd.targets import Target

SOURCES = ("random", "folder", "camera", "raw")
WHEN_LATE = ("drop", "exit", "ladder")
POSITIVE = click.FloatRange(min=0, min_open=True)


def frame_size(text: str) -> tuple[int, int]:
    """Parses ``640x480`` for click."""
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text.lower())
    if found is None:
        raise click.BadParameter(f'"{text}" is not WIDTHxHEIGHT, for example 640x480')
    return int(found[1]), int(found[2])


@click.command()
@click.argument("model", type=PATH)
@click.option("--fps", type=POSITIVE, default=30.0, show_default=True, help="Frames a second.")
@click.option(
    "--budget",
    type=duration,
    metavar="TIME",
    help="What a frame may take from its release to its end, such as 30ms; ends with 1 if one "
    "takes longer. Without it: the target's budget or the time between two frames, ends with 0.",
)
@click.option("--minutes", type=POSITIVE, metavar="N", help="How long; default: 1.")
@click.option("--seconds", type=POSITIVE, metavar="N", help="How long, in seconds.")
@click.option(
    "--source",
    type=click.Choice(SOURCES),
    help="random pixels; the pictures in a folder; the same through a simulated camera; raw RGB "
    "frames of a file or a pipe. Default: by what --input is.",
)
@click.option("--input", "given", metavar="PATH", help="The pictures, file or pipe; -: stdin.")
@click.option("--size", type=frame_size, metavar="WxH", help="The frames' size.")
@click.option(
    "--severity",
    type=click.IntRange(1, 5),
    default=2,
    show_default=True,
    help="Of the simulated camera's blur and noise.",
)
@click.option(
    "--when-late",
    type=click.Choice(WHEN_LATE),
    help="drop: skip to the newest frame; exit: also take an earlier exit; ladder: also step down "
    "to a smaller model, and up again. Default: ladder with --ladder, otherwise drop.",
)
@click.option(
    "--ladder", "smaller", type=PATH, multiple=True, help="A smaller model; once for each."
)
@click.option("--hot", type=float, metavar="C", help="The ladder steps down at so many °C.")
@click.option("--cool", type=float, metavar="C", help="A hot board may step up at so many °C.")
@click.option(
    "--calm",
    type=POSITIVE,
    default=5.0,
    show_default=True,
    help="Seconds without a miss before the ladder steps up.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of the model; default: as --cpu.")
@click.option("--cpu", "cpu_list", metavar="LIST", help="CPUs to run on, such as 3 or 2,3.")
@click.option("--priority", metavar="fifo:N", help="Real-time priority, 1 to 99; or rr:N.")
@click.option("--mlock", is_flag=True, help="Lock the memory, so that no page is ever fetched.")
@click.option("--power", metavar="MODE", help="Power mode of the target, such as max.")
@click.option(
    "--ssh",
    "destination",
    metavar="USER@HOST",
    help="Stream on a board, which needs no Python: the artifact must be a standalone one.",
)
@click.option("-o", "--out", type=PATH, metavar="FOLDER", help="Write stream.json, stream.html.")
@json_option
def command(
    model: Path,
    fps: float,
    budget: float | None,
    minutes: float | None,
    seconds: float | None,
    given: str | None,
    smaller: tuple[Path, ...],
    when_late: str | None,
    cpu_list: str | None,
    power: str | None,
    destination: str | None,
    out: Path | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Stream frames through an artifact and check their deadlines.

    MODEL is an artifact, a folder with early exits (exits.json), or an ONNX file. Each frame goes
    through pre-processing, model and post-processing before the next one is due. Real-time
    settings and the power mode are undone at the end, also on Ctrl-C.

    \b
    Examples:
      tvmkd stream out/ --fps 30 --budget 30ms --minutes 10 --input photos/
      tvmkd stream out/ --budget 30ms --cpu 3 --priority fifo:50 --mlock --power max -o streamed/
      tvmkd stream out/nano --ssh user@nano --budget 30ms --input photos/ --size 640x480
      tvmkd stream big/ --ladder small/ --ladder smaller/ --hot 75 --cool 60 --budget 30ms
      ffmpeg -f v4l2 -i /dev/video0 -f rawvideo -pix_fmt rgb24 - \\
          | tvmkd stream out/ --source raw --input - --size 640x480
    """
    if minutes is not None and seconds is not None:
        raise click.UsageError("give --minutes or --seconds, not both")
    from tvmkd.base.files import check_output
    from tvmkd.deploy.streaming import on_board, output, power_mode, realtime, sources, stream
    from tvmkd.deploy.streaming.plan import Plan, target_of

    if out is not None:
        check_output(out, folder=True)
    target = target_of(model)
    limits = {} if target is None else target.budget
    thermal = {} if target is None else target.thermal
    path = sources.stdin_path() if given == "-" else given
    asked = Plan(
        models=tuple(map(str, (model, *smaller))),
        fps=fps,
        budget_ms=budget or limits.get("total_ms") or 1000 / fps,
        seconds=seconds or 60 * (minutes or 1.0),
        when_late=when_late or ("ladder" if smaller else "drop"),  # type: ignore[arg-type]
        source=sources.choose(settings["source"], None if path is None else Path(path)),
        input=path,
        size=settings["size"],
        severity=settings["severity"],
        cpus=() if cpu_list is None else realtime.cpus(cpu_list),
        priority=settings["priority"],
        lock_memory=settings["mlock"],
        threads=settings["threads"],
        hot=settings["hot"] if settings["hot"] is not None else thermal.get("pause_celsius"),
        cool=settings["cool"] if settings["cool"] is not None else thermal.get("resume_celsius"),
        calm_s=settings["calm"],
    )
    wanted = [] if power is None else power_mode.commands(_power(target, power), power)
    stopped: list[int] = []
    with _shown(asked, stopped) as told:
        run = stream.run
        if destination is not None:
            run = functools.partial(on_board.run, destination=destination)
        result, frames = run(
            asked,
            power=power,
            power_commands=wanted,
            model_ms=limits.get("model_ms") if budget is None else None,
            told=told,
        )
    if out is not None:
        output.write(out, result, frames)
    if as_json:
        print_json({**result.model_dump(), "misses": result.misses})
    else:
        _print(result)
    if result.interrupted:
        # SIGTERM ends it as Ctrl-C does: somebody stopped it. After SIGHUP nobody is there.
        return 129 if signal.SIGHUP in stopped else 130
    return 1 if budget is not None and result.misses else 0


def _power(target: Target | None, mode: str) -> Mapping[str, Any]:
    if target is None:
        raise click.UsageError(f"--power {mode}: an ONNX file names no target whose modes to set")
    return target.power


@contextlib.contextmanager
def _shown(plan: Plan, stopped: list[int]) -> Iterator[Any]:
    """A progress bar; the function takes the events of the stream, and notes what stopped it."""
    from tvmkd.base import console

    with console.progress(transient=True) as bar:
        task = bar.add_task("loading", total=round(plan.seconds * plan.fps), note="")

        def told(event: str, data: Mapping[str, Any]) -> None:
            if event == "ready":
                bar.update(task, description="streaming")
                return
            if event == "stopped":
                stopped.append(data["signal"])
                return
            rung = f", model {data['rung']}" if len(plan.models) > 1 else ""
            note = f"worst {data['worst']:.2f} ms, {data['late']} late, "
            note += f"{data['dropped']} dropped{rung}"
            bar.update(task, completed=data["frames"] + data["dropped"], note=note)

        yield told


def _print(result: StreamResult) -> None:
    from rich.console import Console

    from tvmkd.deploy.streaming import summary

    # By click, which knows what to do where the reader has ended (`| head`); rich does not.
    screen = Console(highlight=False)
    with screen.capture() as captured:
        screen.print(summary.table(result))
    click.echo("\n".join([captured.get().rstrip("\n"), *summary.lines(result)]))
