"""Makes a container image of a model: the static server with the model linked in, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.files import sha256
from tvmkd.base.version import __version__
from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles import self_test
from tvmkd.deploy.bundles.archive import EXECUTABLE, Entry
from tvmkd.deploy.bundles.model import Model
from tvmkd.deploy.images import oci

PLATFORMS = {"aarch64": ("arm64", "v8"), "x86_64": ("amd64", None)}
USER = "65532:65532"
"""Nobody in particular: no name of the host has this number."""
PORT = 8000
SECOND = 1_000_000_000  # Docker counts in nanoseconds

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        path: the layout's tar.
        tag: ``name:version``.
        sha256: of the file.
        sizes: bytes of the server by architecture.
        tested: what the self-test said, by architecture; a missing one was not run.
        untested: why not, for those.
    """

    path: Path
    tag: str
    sha256: str
    sizes: dict[str, int]
    tested: dict[str, str]
    untested: dict[str, str]


def make(models: Sequence[Model], out: Path, tag: str, onnx: Path | None, tell: Tell) -> Made:
    """Writes the image; the same artifacts give the same bytes.

    Each model is linked and run on a recorded input first, here or under QEMU, where both are
    possible.

    Args:
        models: artifacts of one network, each for another architecture.
        out: the ``.tar`` to write.
        tag: ``name:version``.
        onnx: the file that was compiled, for the self-test.
        tell: gets what is being done.

    Raises:
        UsageError: two are for one architecture, or they are not of one network.
        InputError: one cannot be linked statically, or fails its self-test.
        MissingError: there is no compiler.
    """
    _check(models)
    images, sizes, tested, untested = [], {}, {}, {}
    for model in models:
        name, variant = PLATFORMS[model.target.architecture]
        tell(f"linking the server for {name}")
        server = native_programs.server_program(model.target, archive=model.archive, tell=tell)
        start = self_test.runner(model)
        if start is None:
            untested[name] = "neither this machine nor an installed QEMU can run it"
        elif onnx is None and not _known(model):
            untested[name] = "there is nothing to compare with; give --onnx MODEL.onnx"
        else:
            tested[name] = _test(model, onnx, start, tell)
        sizes[name] = server.stat().st_size
        files = {native_programs.SERVER: Entry(server, EXECUTABLE)}
        images.append(
            oci.Image(
                name, files, config(f"/{native_programs.SERVER}", tag.partition(":")[0]), variant
            )
        )
    first = models[0].manifest
    about = {
        "title": tag.partition(":")[0],
        "version": tag.partition(":")[2],
        "description": f"{first.name}, compiled by tvmkd {__version__}",
        "revision": first.onnx_sha256,
    }
    tell(f"writing {out}")
    oci.write(out, images, tag, max(model.manifest.created for model in models), about)
    return Made(out, tag, sha256(out), sizes, tested, untested)


def config(server: str, name: str) -> dict[str, object]:
    """The image's configuration.

    Args:
        server: the program's path in the image.
        name: what the model is called in URLs.
    """
    return {
        "Entrypoint": [server, "--name", name],
        # Inside of a container loopback would reach nobody; what is published decides.
        "Cmd": ["--host", "0.0.0.0", "--http-port", str(PORT)],
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "User": USER,
        "WorkingDir": "/",
        # Reserved in OCI's specification; Docker reads it.
        "Healthcheck": {
            "Test": ["CMD", server, "--health", "--http-port", str(PORT)],
            "Interval": 10 * SECOND,
            "Timeout": 3 * SECOND,
            "StartPeriod": SECOND,
            "Retries": 3,
        },
    }


def _check(models: Sequence[Model]) -> None:
    seen: dict[str, Path] = {}
    for model in models:
        architecture = model.target.architecture
        if architecture not in PLATFORMS:
            raise InputError(f"{model.folder}: no images are made for {architecture}")
        if architecture in seen:
            raise UsageError(
                f"{seen[architecture]} and {model.folder} are both for {architecture}; give one "
                "artifact for each architecture"
            )
        seen[architecture] = model.folder
        if model.manifest.onnx_sha256 != models[0].manifest.onnx_sha256:
            raise UsageError(
                f"{model.folder} and {models[0].folder} were built from two ONNX files; an image "
                "holds one network"
            )
        if model.target.device != "cpu":
            raise InputError(
                f"{model.folder}: its kernels run on a GPU, whose driver no static server can "
                "load; write a Dockerfile: tvmkd deploy image --dockerfile DIR"
            )
        if model.archive is None:
            raise InputError(f"{model.folder}: has no static library (.a); build it again")


def _known(model: Model) -> bool:
    """Whether right outputs can be had without the ONNX file that was compiled."""
    return self_test.NORMALISED in model.manifest.files or "max_error" in model.manifest.check


def _test(model: Model, onnx: Path | None, start: Sequence[str], tell: Tell) -> str:
    """What the self-test of the static library said."""
    shared = native_programs.run_program(model.target, tell=tell)
    recording = self_test.record(model, shared, start, onnx)
    tell("running the self-test" + (" under QEMU" if start else ""))
    static = native_programs.run_program(model.target, archive=model.archive, tell=tell)
    return self_test.check(model, static, recording, start, linked=True)
