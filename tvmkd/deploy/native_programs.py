"""The programs in C that run standalone libraries, compiled for a target by zig and cached.

``tvmkd-run`` runs, checks and times a library, ``tvmkd-server`` serves it, and ``tvmkd-stream``
runs frames through it at a fixed rate. Each opens libraries by their paths, or is one static file
with a model linked in, which needs nothing but a kernel.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tvmkd.base import folders, resources
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.files import sha256
from tvmkd.base.toolchain import zig
from tvmkd.base.version import __version__
from tvmkd.targets import Target

NATIVE = Path(__file__).parent / "native"
BOARDS = Path(__file__).parents[1] / "boards" / "native"
"""Where the files are that read a board's state, which its RPC server has, too."""
HEADERS = Path(__file__).parents[1] / "runtime" / "native" / "standalone"
"""Where ``tvmkd.h`` is."""
RUN, SERVER, STREAM = "tvmkd-run", "tvmkd-server", "tvmkd-stream"

_SHARED = (
    *("arguments", "base64", "buffer", "description", "dtype", "json", "json_check"),
    *("board_files", "board_metrics", "board_power", "metric_text", "model_library"),
    *("process_facts", "program", "tensors", "utf8"),
)
SOURCES = {
    RUN: (
        *_SHARED,
        *("board_facts", "npy", "run_benchmark", "run_frame", "run_main", "run_model"),
        *("run_once", "run_options", "run_report", "run_session", "statistics"),
    ),
    STREAM: (
        *("arguments", "board_files", "buffer", "dtype", "ladder", "model_library", "program"),
        *("realtime", "stream_frames", "stream_loop", "stream_main", "stream_model"),
        *("stream_options", "tensors", "utf8"),
    ),
    SERVER: (
        *_SHARED,
        *("access", "connection", "connection_answers", "connections", "events", "fault"),
        *("http_chunks", "http_head", "infer_answer", "infer_plan", "infer_tensors", "instance"),
        *("instance_process", "library_name", "listening", "metrics", "model_source", "repository"),
        *("route_table", "routes", "routes_control", "server_main", "server_options"),
        *("server_statistics", "service_time", "tensor_json", "version", "version_instances"),
        "version_policy",
    ),
}
"""By program: its C files in `NATIVE` or `BOARDS`, without suffix."""
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", f'-DTVMKD_VERSION="{__version__}"')

Tell = Callable[[str], None]


def _quiet(_text: str) -> None:
    pass


def run_program(target: Target, *, archive: Path | None = None, tell: Tell = _quiet) -> Path:
    """The path of ``tvmkd-run`` for a target; compiles it first if the cache has none.

    Args:
        target: what to compile for.
        archive: a model's ``lib<name>.a``: it is linked into the program, which is then static. By
            default the program opens any library, and needs the target's glibc.
        tell: gets what is being done.

    Raises:
        MissingError: there is no compiler (``pip install ziglang``).
        InputError: ``archive`` cannot be read, or is no model for the target.
    """
    return _program(RUN, target, archive, tell)


def server_program(target: Target, *, archive: Path | None = None, tell: Tell = _quiet) -> Path:
    """The path of ``tvmkd-server`` for a target; everything else as `run_program`."""
    return _program(SERVER, target, archive, tell)


def stream_program(target: Target, *, archive: Path | None = None, tell: Tell = _quiet) -> Path:
    """The path of ``tvmkd-stream`` for a target; everything else as `run_program`."""
    return _program(STREAM, target, archive, tell)


def _program(name: str, target: Target, archive: Path | None, tell: Tell) -> Path:
    if archive is not None and not archive.is_file():
        raise InputError(f"{archive}: there is no such archive; give the lib*.a of tvmkd build")
    sources = [*NATIVE.glob("*.[ch]"), *BOARDS.glob("board_*.[ch]"), HEADERS / "tvmkd.h"]
    made = {
        "sources": [(path.name, sha256(path)) for path in sorted(sources)],
        "program": [name, SOURCES[name], FLAGS],
        "target": [target.toolchain.triple, target.toolchain.glibc, target.mcpu],
        "compiler": zig(),
        "archive": None if archive is None else sha256(archive),
    }
    key = hashlib.sha256(repr(made).encode()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        tell(f"compiling {name} for {target.toolchain.triple}")
        _compile(name, target, archive, folder / name)

    place = resources.cache("native") / f"{name}-{target.architecture}-{key}"
    return folders.make_once(place, fill) / name


def _compile(name: str, target: Target, archive: Path | None, out: Path) -> None:
    toolchain = target.toolchain
    command = [*zig(), "cc", *FLAGS, "-s", "-o", os.fspath(out), *_includes()]
    if archive is None:
        command += ["-target", f"{toolchain.triple}.{toolchain.glibc}"]
        if target.mcpu and target.mcpu != "generic":
            command.append(f"-mcpu={target.mcpu.replace('-', '_')}")
    else:
        # For any CPU: zig compiles its C library again for each, which takes a minute, and the time
        # goes into the model, which is compiled already.
        command += ["-target", f"{target.architecture}-linux-musl", "-static", "-DTVMKD_STATIC"]
    command += [os.fspath(source(each)) for each in SOURCES[name]]
    if archive is not None:
        command.append(os.fspath(archive))
    done = subprocess.run([*command, "-lpthread", "-ldl", "-lm"], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        if archive is not None and ".c:" not in lines[0]:
            raise InputError(
                f"{archive}: cannot be linked into {name} for {target.name}: {lines[0].strip()}; "
                "give the lib*.a of tvmkd build --runtime standalone for this target"
            )
        raise TvmkdError(f"{name} cannot be compiled: {lines[0].strip()}")


def source(name: str) -> Path:
    """The C file of one of `SOURCES`."""
    ours = NATIVE / f"{name}.c"
    return ours if ours.is_file() else BOARDS / ours.name


def _includes() -> list[str]:
    return [word for folder in (HEADERS, BOARDS) for word in ("-I", os.fspath(folder))]
