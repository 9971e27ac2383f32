"""``tvmkd latency feedback``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvmkd.cli._options import PATH, dims_option, json_option, label, print_json, stack_options

if TYPE_CHECKING:
    from tvmkd.deploy.monitoring.production import Counts, Times
    from tvmkd.search.latency.feedback import Verdict
    from tvmkd.search.latency.prediction import Prediction
    from tvmkd.targets import Target

SHORT = 2e-3
"""Seconds: networks that are faster take visibly longer in a server than in a row."""


@click.command()
@click.argument("model", metavar="ONNX|ARTIFACT", type=PATH)
@click.option(
    "--records", type=PATH, required=True, help="The table's folder, as of tvmkd latency table."
)
@click.option(
    "--seen",
    required=True,
    metavar="FILE|URL",
    help="Milliseconds of single calls as JSON lines or CSV, a stream.json, the metrics of a "
    "server, or its URL, such as http://nano:8000.",
)
@click.option(
    "--name", type=label, metavar="MODEL", help="The model's name in metrics that have several."
)
@click.option(
    "--over",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="With a URL: only the calls of the next seconds; default: all since the server started.",
)
@click.option("--token-file", type=PATH, help="A file with the token that the server wants.")
@click.option("--cafile", type=PATH, help="Certificates to trust, for https.")
@click.option(
    "--target",
    "target_name",
    type=label,
    metavar="NAME|FILE",
    help="What the table is for; default: that of the ARTIFACT, or host.",
)
@click.option(
    "--update",
    is_flag=True,
    help="Correct the table, if it has drifted: its predictions are multiplied by the ratio.",
)
@stack_options()
@dims_option
@json_option
def command(
    model: Path,
    records: Path,
    seen: str,
    name: str | None,
    over: float | None,
    token_file: Path | None,
    cafile: Path | None,
    target_name: str | None,
    update: bool,
    stack: str,
    stack_python: Path | None,
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
) -> int:
    """Compare times seen in production with a table's predictions.

    The median of the times is compared with the predicted time of the same model: the ratio has an
    interval, and so has the prediction. Of a server, the time of its stage "compute" counts. Exit
    code 0 if the table holds, 1 if it has drifted. --update then writes a factor into the table's
    feedback.json, which all its predictions are multiplied by from then on.

    \b
    Examples:
      tvmkd latency feedback out/artifact --records latency/nano --seen http://nano:8000
      tvmkd latency feedback student.onnx --records latency/host --seen calls.csv --update
      tvmkd latency feedback out/artifact --records latency/nano --seen streamed/stream.json --json
    """
    from tvmkd.base.errors import InputError, UsageError
    from tvmkd.cli._options import existing
    from tvmkd.deploy.monitoring.production import Times
    from tvmkd.search.latency import correction, feedback
    from tvmkd.search.latency.table import LatencyTable

    existing(model, "ONNX file or artifact")
    existing(records, "folder of a latency table")
    url = "://" in seen
    if over is not None and not url:
        raise UsageError("--over goes with a URL")
    onnx, target, stack = _of(model, target_name, stack)
    found = _ask(seen, name, over, token_file, cafile) if url else _read(Path(seen), name)
    with LatencyTable(records, target, stack=stack, dims=dict(dims), python=stack_python) as table:
        if table.unit != "s":
            raise InputError(f"{records}: counts {table.unit}, and times say nothing about those")
        prediction = table.predict_model(onnx)
    if isinstance(found, Times):
        verdict = feedback.judge(found.seconds, prediction, found.when)
    else:
        verdict = feedback.judge_histogram(found.limits, found.counts, prediction, found.median)
    new = None
    if update and not verdict.holds:
        new = correction.update(records, verdict, found.source, str(model))
    served = not isinstance(found, Times) and found.median is None
    _show(verdict, prediction, found.source, records, target, new, served=served, as_json=as_json)
    if update and new is None and not as_json:
        click.echo("nothing is corrected: the table holds")
    return 0 if verdict.holds else 1


def _of(model: Path, target_name: str | None, stack: str) -> tuple[Path, Target, str]:
    """The ONNX file, target and stack of what was given.

    Raises:
        InputError: an artifact without its ONNX file, or of another target than the one named.
    """
    from tvmkd import artifact, targets
    from tvmkd.base import console
    from tvmkd.base.errors import InputError
    from tvmkd.base.runtimes import TVM

    if not model.is_dir():
        return model, targets.load(target_name or "host"), stack
    manifest = artifact.read(model)
    made_for = str(manifest.target.get("name"))
    target = targets.Target.from_dict(manifest.target, where=f"{model}: target")
    if target_name is not None:
        target = targets.load(target_name)
        if target.name != made_for:
            raise InputError(f"{model}: is for {made_for}, and --target says {target.name}")
    if artifact.NORMALISED not in manifest.files:
        raise InputError(
            f"{model}: does not hold its ONNX file: give the file that it was built from (SHA-256 "
            f"{manifest.onnx_sha256[:16]}...) and --target {made_for}"
        )
    if manifest.runtime != TVM:
        console.warn(
            f"{model} needs no TVM, and the table predicts calls through TVM's runtime, which take "
            "longer: by microseconds, which shows in small networks"
        )
    return model / artifact.NORMALISED, target, manifest.stack


def _read(path: Path, name: str | None) -> Times | Counts:
    from tvmkd.deploy.monitoring import production

    return production.read(path, name)


def _ask(
    url: str, name: str | None, over: float | None, token_file: Path | None, cafile: Path | None
) -> Counts:
    """The counted times of a server, all of them or those of some seconds.

    Raises:
        MissingError: it does not answer.
    """
    from tvmkd.base import console
    from tvmkd.base.errors import MissingError
    from tvmkd.deploy.monitoring import production
    from tvmkd.deploy.monitoring.scrape import Server, Unreachable
    from tvmkd.deploy.serving.access import read_token

    token = None if token_file is None else read_token(token_file)
    server = Server.at(url.removesuffix("/metrics"), token, cafile)

    def look() -> Counts:
        try:
            return production.of_metrics(server.scrape().values, name, url)
        except Unreachable as error:
            raise MissingError(f"{url}: {error}; is the server running there?") from None

    first = look()
    if over is None:
        return first
    console.say(f"counting for {over:g} s")
    time.sleep(over)
    return production.since(look(), first)


def _show(
    verdict: Verdict,
    prediction: Prediction,
    source: str,
    records: Path,
    target: Target,
    new: float | None,
    *,
    served: bool,
    as_json: bool,
) -> None:
    """Prints the verdict."""
    if as_json:
        facts = {"source": source, "interpolated": prediction.interpolated, "factor": new}
        print_json({**verdict.to_json(), **facts})
        return
    again = f"tvmkd latency table --records {records} --target {target.name} --space TOML"
    for line in verdict.lines(again):
        click.echo(line)
    if prediction.interpolated > 0:
        share = f"{prediction.interpolated:.0%}"
        click.echo(f"{share} of the predicted time is in kernels that nobody has measured")
    if served and not verdict.holds and verdict.predicted < SHORT:
        click.echo(
            "between the requests of a server, threads sleep and caches are used by others, which "
            "shows in networks as small as this one; a table is measured in runs one after the "
            "other: compare it with such runs (tvmkd stream, or a file) before you measure again"
        )
    if new is not None:
        click.echo(f"corrected: predictions are multiplied by {new:.3f} from now on")
