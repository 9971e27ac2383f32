"""``tvmkd deploy image``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.base.errors import UsageError
from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH, json_option, print_json


@click.command()
@click.argument("artifacts", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, help="The NAME-VERSION.oci.tar to write.")
@click.option(
    "--dockerfile",
    type=PATH,
    metavar="DIR",
    help="Write a Dockerfile on NVIDIA's L4T image instead.",
)
@click.option("--name", help="The image's name; default: from the output's name, or the model's.")
@click.option(
    "--version", help="Its version; default: from the output's name, or the build's time."
)
@click.option("--onnx", type=PATH, help="The ONNX file that was compiled, for the self-test.")
@json_option
def command(
    artifacts: tuple[Path, ...],
    output: Path | None,
    dockerfile: Path | None,
    name: str | None,
    version: str | None,
    onnx: Path | None,
    as_json: bool,
) -> None:
    """Make a container image of an artifact, without Docker.

    ARTIFACTS are folders of `tvmkd build --runtime standalone`: one, or one for each architecture.
    The image holds a static server with the model linked in and nothing else: no shell, no C
    library, no root. It is an OCI layout, which skopeo, podman, docker load and containerd read.

    With --dockerfile a folder for `docker build` on a Jetson is written instead, for the GPU.

    \b
    Examples:
      tvmkd deploy image out/nano out/host -o student-1.2.0.oci.tar
      skopeo copy oci-archive:student-1.2.0.oci.tar docker://registry/student:1.2.0 --all
      tvmkd deploy image out/gpu --dockerfile docker/
    """
    from tvmkd.base import console
    from tvmkd.deploy.bundles import model
    from tvmkd.deploy.images import dockerfile as docker
    from tvmkd.deploy.images import image

    if (output is None) == (dockerfile is None):
        raise UsageError("give -o FILE.oci.tar, or --dockerfile DIR")
    models = [model.read(folder) for folder in artifacts]
    out = output or Path(dockerfile or "")
    suffix = ""
    if output is not None:
        suffix = ".oci.tar" if out.name.endswith(".oci.tar") else ".tar"
    version = version or (
        None if "-" in out.name.removesuffix(suffix) else model.time_of_build(models[0])
    )
    name, version = model.name_and_version(models[0], out, suffix, name, version)
    if dockerfile is not None:
        if len(models) > 1:
            raise UsageError("--dockerfile takes one artifact")
        with console.working(f"writing {dockerfile}") as tell:
            docker.write(models[0], dockerfile, name, version, tell)
        click.echo(f"{dockerfile}: build it on the board: docker build -t {name}:{version} .")
        return
    assert output is not None
    check_output(output)
    with console.working("making the image") as tell:
        made = image.make(models, output, f"{name.lower()}:{version}", onnx, tell)
    size = output.stat().st_size
    if as_json:
        print_json(
            {
                "path": str(output),
                "tag": made.tag,
                "bytes": size,
                "sha256": made.sha256,
                "servers": made.sizes,
                "self_test": made.tested,
                "not_tested": made.untested,
            }
        )
        return
    for architecture, bytes_ in made.sizes.items():
        said = made.tested.get(architecture) or f"not run: {made.untested[architecture]}"
        click.echo(f"linux/{architecture:<8}{bytes_ / 2**20:>8.1f} MiB  self-test: {said}")
    click.echo(f"{output}: {made.tag}, {size / 2**20:.1f} MiB, sha256 {made.sha256}")
    click.echo(f"Load it with: skopeo copy oci-archive:{output} docker-daemon:{made.tag}")
