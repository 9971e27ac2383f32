"""Writes what ``docker build`` on a Jetson needs: a Dockerfile on NVIDIA's L4T image and its files.

For the GPU no static server can do: the driver, ``libcuda.so.1``, is the board's own and is mounted
into the container.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tvmkd.artifact import MANIFEST
from tvmkd.base.errors import InputError, unwritable
from tvmkd.base.files import check_output
from tvmkd.base.folders import draft_folder
from tvmkd.boards import symbols
from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles import card
from tvmkd.deploy.bundles.model import Model

TEMPLATE = Path(__file__).parent / "templates" / "Dockerfile.l4t"
GLIBC = "2.27"
"""Of the image: L4T 32.7 is Ubuntu 18.04."""

Tell = Callable[[str], None]


def write(model: Model, folder: Path, name: str, version: str, tell: Tell) -> None:
    """Writes the folder in one step; an older one of the same kind is replaced.

    Args:
        model: an artifact for a Jetson.
        folder: gets ``Dockerfile`` and ``app/``.
        name, version: of the image.
        tell: gets what is being done.

    Raises:
        InputError: the artifact is not for AArch64, needs a newer glibc, or ``folder`` is something
            else or cannot be written.
        MissingError: there is no compiler.
    """
    if model.target.architecture != "aarch64":
        raise InputError(
            f"{model.folder}: is for {model.target.architecture}, and L4T runs on Jetsons only; "
            "build it with --target jetson-nano or jetson-nano-gpu"
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / "Dockerfile").is_file():
        raise InputError(f"{folder}: exists and holds no Dockerfile; give another folder")
    check_output(folder, folder=True, replaced=True)
    tell("compiling the server")
    server = native_programs.server_program(model.target, tell=tell)
    symbols.check([server, model.library], GLIBC)
    text = TEMPLATE.read_text(encoding="utf-8")
    for key, value in (
        ("NAME", name),
        ("VERSION", version),
        ("SERVER", native_programs.SERVER),
        ("LIBRARY", model.library.name),
    ):
        text = text.replace(f"@{key}@", value)
    names = card.classes(model.manifest, None)
    try:
        with draft_folder(folder) as new:
            for part in ("bin", "lib"):
                (new / "app" / part).mkdir(parents=True)
            (new / "Dockerfile").write_text(text, encoding="utf-8")
            shutil.copy(server, new / "app" / "bin" / native_programs.SERVER)
            shutil.copy(model.library, new / "app" / "lib" / model.library.name)
            shutil.copy(model.folder / MANIFEST, new / "app" / MANIFEST)
            described = card.text(model, name, version, names)
            (new / "app" / "model.json").write_text(described, encoding="utf-8")
    except OSError as error:
        raise unwritable(error, folder) from None
