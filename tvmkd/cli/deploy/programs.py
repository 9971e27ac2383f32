"""``tvmkd deploy programs``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from tvmkd.base.files import check_output, draft
from tvmkd.cli._options import PATH, json_option, print_json, target_option


@click.command()
@target_option
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="Where to put them.")
@click.option(
    "--archive",
    type=PATH,
    metavar="LIB.a",
    help="Link this model into them: static programs that need nothing but a kernel.",
)
@json_option
def command(target_name: str, output: Path, archive: Path | None, as_json: bool) -> None:
    """Compile the programs that run and serve libraries on a board.

    They are tvmkd-run, tvmkd-server and tvmkd-stream, and serve.py for a board's own Python. Each
    opens any standalone library; those in C need the target's glibc. With --archive they hold one
    model, and serve.py, which cannot, is left out.

    \b
    Examples:
      tvmkd deploy programs --target jetson-nano -o nano/
      tvmkd deploy programs --target jetson-nano -o nano/ --archive out/libstudent.a
    """
    from tvmkd import targets
    from tvmkd.base import console
    from tvmkd.deploy import native_programs, serve_file

    target = targets.load(target_name)
    check_output(output, folder=True)
    with console.working(f"compiling for {target.name}") as tell:
        made = [
            make(target, archive=archive, tell=tell)
            for make in (
                native_programs.run_program,
                native_programs.server_program,
                native_programs.stream_program,
            )
        ]
    files = []
    for program in made:
        with draft(output / program.name) as written:
            shutil.copyfile(program, written)
            written.chmod(0o755)
        files.append(output / program.name)
    if archive is None:
        files.append(output / "serve.py")
        serve_file.write(files[-1])
    sizes = {str(path): path.stat().st_size for path in files}
    if as_json:
        print_json({"target": target.name, "static": archive is not None, "files": sizes})
        return
    for path, size in sizes.items():
        click.echo(f"{path}: {size / 1024:.1f} KiB")
