"""``tvmkd detect``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tvmkd.base.errors import InputError
from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH, json_option, print_json

TIMED = 16  # the most pictures to time, all kept in memory
THRESHOLD = 0.3  # of a detector whose own was not calibrated: for people, fewer boxes


def duration(text: str) -> float:
    """Parses ``30ms`` for click; returns milliseconds."""
    from tvmkd.bench.expression import TIME, TOKEN, UNITS

    token = TOKEN.fullmatch(text)
    kind, scale = UNITS.get(token.group("unit") if token else "", ("", 0.0))
    if token is None or kind != TIME or not float(token.group("number")) > 0:
        raise click.BadParameter(f'"{text}" is not a time, for example 30ms')
    return float(token.group("number")) * scale


@click.command()
@click.argument("model", type=PATH)
@click.argument("images", type=PATH, nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=None,
    help="Show what has a score above it.  [default: as calibrated, else 0.3]",
)
@click.option("-o", "--out", type=PATH, metavar="FOLDER", help="Draw into PNG files in a folder.")
@click.option("--time", "timed", is_flag=True, help="Measure what an image costs, step by step.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="To measure for.",
)
@click.option(
    "--budget",
    type=duration,
    metavar="TIME",
    help="What an image may take in all, such as 30ms; measures, and ends with 1 if p99 is above.",
)
@json_option
def command(
    model: Path,
    images: tuple[Path, ...],
    threshold: float | None,
    out: Path | None,
    timed: bool,
    seconds: float,
    budget: float | None,
    as_json: bool,
) -> int:
    """Find objects in images with a detector, and time it.

    MODEL is the ONNX file of a detector, or the artifact that `tvmkd build` made of it. An IMAGE
    may be a folder. Times are from the pixels to the boxes; threads are TVM's (TVM_NUM_THREADS), or
    all cores with an ONNX file.

    \b
    Examples:
      tvmkd detect detector.onnx street.jpg
      tvmkd detect out/ photos/ --threshold 0.5 --out drawn/
      tvmkd detect out/ street.jpg --time --seconds 10 --json
      tvmkd detect out/ street.jpg --budget 30ms
    """
    if out is not None:
        check_output(out, folder=True)
    from tvmkd.base import console
    from tvmkd.base.images import listed
    from tvmkd.detection import drawing, preprocess, runtime, timing

    paths = listed(images)
    places = {} if out is None else _places(paths, out)
    detector = runtime.load(model)
    if threshold is None:
        threshold = detector.description.threshold or THRESHOLD
    detector.threshold = threshold
    across = max(5, *(len(str(path)) for path in paths))
    wide = max(5, *map(len, detector.classes))
    if not as_json:
        numbers = "".join(f"{name:>8}" for name in ("score", "x1", "y1", "x2", "y2"))
        click.echo(f"{'image':<{across}}  {'class':<{wide}}{numbers}")
    found = []
    for path in paths:
        pixels = preprocess.pixels(path)
        detections = detector(pixels)
        rows = detections.to_list(detector.classes)
        if path in places:
            drawing.save(places[path], drawing.draw(pixels, detections, detector.classes))
        if as_json:
            entry = {"image": path, "width": pixels.shape[1], "height": pixels.shape[0]}
            found.append({**entry, "detections": rows, "drawn": places.get(path)})
            continue
        for row in rows:
            corners = "".join(f"{value:>8.1f}" for value in row["box"])
            text = f"{row['class']:<{wide}}{row['score']:>8.2f}{corners}"
            click.echo(f"{path!s:<{across}}  {text}")
        if not rows:
            click.echo(f"{path!s:<{across}}  nothing above {threshold:g}")
    taken = None
    if timed or budget is not None:
        pictures = [preprocess.pixels(path) for path in paths[:TIMED]]
        console.say(f"timing for {seconds:g} s")
        taken = timing.measure(detector, pictures, seconds, budget)
    if as_json:
        about = {"model": model, "runtime": detector.runtime, "classes": detector.classes}
        print_json(
            {**about, "threshold": threshold, "images": found, "timing": taken and taken.to_dict()}
        )
    elif taken is not None:
        click.echo("\n" + "\n".join(taken.lines()))
    return 1 if taken is not None and taken.holds is False else 0


def _places(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """The output file of each picture: no file twice, and never an input image."""
    originals = {path.resolve() for path in paths}
    places: dict[Path, Path] = {}
    for path in dict.fromkeys(paths):
        place, number = out / f"{path.stem}.png", 1
        while place in places.values():
            number += 1
            place = out / f"{path.stem}-{number}.png"
        if place.resolve() in originals:
            raise InputError(f"{place}: would be drawn over; give --out another folder")
        places[path] = place
    return places
