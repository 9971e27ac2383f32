"""``tvmkd deploy learn``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tvmkd.cli._options import PATH, arrays, existing, json_option, print_json


@click.command()
@click.argument("onnx", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="The folder to make.")
@click.option(
    "--examples",
    type=PATH,
    required=True,
    metavar="NPZ",
    help='Images as the network takes them, and "labels": some of them are shipped as features, to '
    "be replayed.",
)
@click.option(
    "--held-back",
    type=PATH,
    metavar="NPZ",
    help="The same, of validation images: they tell whether an update forgets. Default: every "
    "third of the examples.",
)
@click.option(
    "--max-classes",
    type=click.IntRange(min=2),
    metavar="N",
    help="Classes that the head may have at most. Default: four more than now.",
)
@click.option(
    "--replay",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="Examples of a class in the replay memory.",
)
@click.option(
    "--target",
    "target_name",
    metavar="TARGET",
    help="Also compile the learner in C for this target.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@json_option
def command(
    onnx: Path,
    output: Path,
    examples: Path,
    held_back: Path | None,
    max_classes: int | None,
    replay: int,
    target_name: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Make a classifier's last layer ready to learn on a board.

    Writes the network with its features as a second output, which `tvmkd build` compiles, and
    head.bin: the last layer, with features to replay and to check against. Nothing learns unless
    serve.py --learn or a program of yours asks for it.

    \b
    Examples:
      tvmkd deploy learn student.onnx --examples train.npz --held-back val.npz -o learn/
      tvmkd deploy learn student.onnx --examples train.npz --max-classes 20 \\
          --target jetson-nano -o learn/
    """
    from tvmkd import targets
    from tvmkd.deploy import learn_head

    target = None if target_name is None else targets.load(target_name)
    made = learn_head.make(
        onnx,
        output,
        arrays(existing(examples, "file of examples")),
        None if held_back is None else arrays(existing(held_back, "file of examples")),
        where=str(examples),
        max_classes=max_classes,
        replay=replay,
        seed=seed,
        target=target,
    )
    if as_json:
        print_json(asdict(made))
        return
    click.echo(
        f"{output / learn_head.HEAD}: {made.classes} classes, at most {made.max_classes}; "
        f"{made.features} features; {made.replay} examples to replay, {made.held_back} held back, "
        f"of which {made.accuracy:.1%} are right; {made.head_bytes / 1024:.1f} KiB"
    )
    click.echo(f"next: tvmkd build {output / onnx.name} --runtime standalone -o out/")
