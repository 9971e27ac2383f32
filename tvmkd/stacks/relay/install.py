"""Creates the environment of the relay stack: Python 3.10 with the index's only Relay build.

The environment is created under a temporary name, tested, and then renamed. Until then an older
working one stays in place; incomplete ones are removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base import machine, stack_registry
from tvmkd.base.errors import InputError, MissingError, TvmkdError
from tvmkd.base.files import write_json
from tvmkd.base.folders import draft_folder
from tvmkd.base.locks import Lock
from tvmkd.runtime import interpreters
from tvmkd.runtime.interpreters import Interpreter
from tvmkd.stacks.survey import how, tail

STACK = "relay"
PYTHON = (3, 10)  # the build is for CPython 3.8 and 3.10, and tvmkd needs 3.10
GLIBC = (2, 34)
MEGABYTES = 1220  # disk space, measured with the versions below
SMOKE_TIMEOUT = 300.0

# Installed without their dependencies: TVM's are wrong, xgboost's include 300 MB of GPU libraries
# and onnxruntime's a computer algebra system, which neither needs.
BARE = ("hhb-tvm==3.2.3", "xgboost==3.2.0", "onnxruntime==1.23.2")
FULL = (
    # Imported by TVM: tflite and tqdm too, at every `import tvm.relay`.
    "attrs==26.1.0",
    "cloudpickle==3.1.3",
    "decorator==5.3.1",
    "numpy==1.26.4",
    "psutil==7.2.2",
    "scipy==1.15.3",
    "tflite==2.18.0",
    "tornado==6.5.10",
    "tqdm==4.70.1",
    "typing_extensions==4.16.0",
    # Imported by tvmkd's worker, and the cross-linker.
    "flatbuffers==25.12.19",
    "onnx==1.18.0",
    "protobuf==7.36.2",
    "pydantic==2.14.4",
    "pyelftools==0.33",
    "tomli==2.5.0",
    "ziglang==0.17.1",
)


def install(
    python: str | os.PathLike[str] | None = None, *, say: Callable[[str], None]
) -> dict[str, Any]:
    """Creates the relay stack's environment, unless a working one exists.

    Args:
        python: the CPython 3.10 for the environment; None: search for one.
        say: receives one line per step.

    Returns:
        the contents of the environment's record: ``{"python", "tvm", "llvm", "packages",
        "created"}``.

    Raises:
        InputError: ``python`` is not a CPython 3.10, or the folder cannot be written.
        MissingError: this machine cannot run the build, there is no Python 3.10, or pip cannot get
            the packages.
        MissingError: the installed stack does not work.
    """
    _check_machine()
    home = interpreters.home()
    place = home / STACK
    with _alone(home, say):
        facts = _there(place)
        if facts is not None:
            record = _record(place, facts)
            say(f"already there and working: {_words(record)}")
            return record
        base = find_python(python)
        say(f"making {place} from {base}: {MEGABYTES} MB, fetched by pip")
        with draft_folder(place) as made:
            _fill(base, made, say)
            say("compiling and running a small function with it")
            facts = smoke(made / "bin" / "python")
        record = _record(place, facts)
    say(f"installed: {_words(record)}")
    return record


def _words(record: Mapping[str, Any]) -> str:
    return f"TVM {record['tvm']}, LLVM {record['llvm']}, {record['python']}"


def _check_machine() -> None:
    remedy = (
        f"set {stack_registry.get(STACK).variable} to a Python with a TVM 0.14 to 0.19 of your own"
    )
    if sys.platform != "linux" or machine.architecture() != "x86_64":
        raise MissingError(
            f"the package index has Relay for x86-64 Linux only, and this is {sys.platform} on "
            f"{machine.architecture()}; {remedy}"
        )
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split(".")[:2])) < GLIBC:
        raise MissingError(
            f"the Relay build of the package index needs glibc {'.'.join(map(str, GLIBC))}, and "
            f"this is {name or 'another C library'} {version}; {remedy}"
        )


@contextlib.contextmanager
def _alone(home: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Locks out other installations, and removes the remains of killed ones.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = Lock(home / f".{STACK}.lock", "installing the same stack", "stop it", wait=say)
    except OSError as error:
        raise InputError(
            f"{home}: cannot be written ({error.strerror}); set XDG_DATA_HOME to a folder that can"
        ) from None
    with lock:
        for left in home.glob(f".{STACK}-*"):
            shutil.rmtree(left)
        yield


def _there(place: Path) -> dict[str, Any] | None:
    """The facts of :func:`smoke` if the environment exists, works and is up to date, or None."""
    python = place / "bin" / "python"
    if not python.exists():
        return None
    try:
        facts = smoke(python)
    except TvmkdError:
        return None
    wanted = dict(requirement.split("==") for requirement in (*BARE, *FULL))
    return facts if wanted.items() <= facts["packages"].items() else None


def find_python(given: str | os.PathLike[str] | None = None) -> str:
    """A CPython 3.10 that runs: ``given``, or the first of the usual places.

    Raises:
        InputError: ``given`` is not a CPython 3.10.
        MissingError: there is none.
    """
    spoken = ".".join(map(str, PYTHON))
    if given is not None:
        path = shutil.which(os.path.expanduser(given))
        if path is None or not _is_wanted(path):
            raise InputError(
                f"{os.fspath(given)}: is no CPython {spoken} that runs (the Relay build is for "
                "that one only)"
            )
        return path
    for path in _candidates(f"python{spoken}", spoken):
        if _is_wanted(path):
            return path
    raise MissingError(
        f"the relay stack needs CPython {spoken}, and there is none here; apt install "
        f"python{spoken} python{spoken}-venv, or pyenv install {spoken}, or uv python install "
        f"{spoken}, or give --python"
    )


def _candidates(name: str, spoken: str) -> Iterator[str]:
    yield sys.executable
    found = shutil.which(name)
    if found:
        yield found
    user = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or user / ".pyenv")
    uv = Path(os.environ.get("XDG_DATA_HOME") or user / ".local" / "share") / "uv" / "python"
    for folder, pattern in ((pyenv / "versions", f"{spoken}*"), (uv, f"cpython-{spoken}*")):
        for path in sorted(folder.glob(f"{pattern}/bin/{name}"), reverse=True):
            yield os.fspath(path)
    yield from (f"/usr/bin/{name}", f"/usr/local/bin/{name}")


def _is_wanted(python: str) -> bool:
    # Tested by running it: pyenv has shims for versions that are not installed.
    code = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.split() == ["cpython", *map(str, PYTHON)]


def _fill(base: str, folder: Path, say: Callable[[str], None]) -> None:
    """Makes a virtual environment and installs the packages into it."""
    done = _run([base, "-m", "venv", os.fspath(folder)])
    if done.returncode:
        lines = done.stdout + done.stderr
        remedy = "give another --python"
        if "ensurepip" in lines:
            remedy = "apt install python3.10-venv, or give another --python"
        raise MissingError(f"{base}: cannot make a virtual environment{tail(lines)}; {remedy}")
    pip = [os.fspath(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
    for text, options, packages in (
        (f"TVM ({BARE[0]})", ["--no-deps"], BARE),
        ("what it and tvmkd need", [], FULL),
    ):
        say(f"installing {text}")
        done = _run([*pip, *options, *packages])
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
            raise MissingError(
                f"pip cannot install the relay stack{tail((errors or [done.stderr])[-1])}; "
                "check the network, pip's index and the free disk space, and run the same command "
                "again"
            )
    # Scripts contain the path of the temporary folder; everything is run as python -m instead.
    for script in (folder / "bin").iterdir():
        if script.is_file() and not re.fullmatch(r"python[0-9.]*", script.name):
            script.unlink()


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX"}
    }
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
    )


def smoke(python: str | os.PathLike[str]) -> dict[str, Any]:
    """Runs :mod:`tvmkd.stacks.relay.smoke` in ``python``; returns ``{"tvm", "llvm", "packages"}``.

    Raises:
        MissingError: it fails.
    """
    found = Interpreter(STACK, os.fspath(python), "the installer")
    with tempfile.TemporaryDirectory(prefix="tvmkd-smoke-") as empty:
        try:
            done = subprocess.run(
                [found.python, "-m", "tvmkd.stacks.relay.smoke"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, **found.environment()},
                cwd=empty,  # TVM creates and reads a folder of pickles in the working directory
                timeout=SMOKE_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise MissingError(
                f"{python}: did not compile a small function in {SMOKE_TIMEOUT:.0f} s; "
                f"install it again: tvmkd stack install {STACK}"
            ) from None
    if done.returncode:
        raise MissingError(
            f"{python}: cannot compile a small function: {how(done.returncode)}"
            f"{tail(done.stderr)}; install it again: tvmkd stack install {STACK}"
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _record(place: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the environment's record, unless the existing one is the same; returns the record."""
    path = interpreters.record_path(STACK)
    record: dict[str, Any] = {"python": os.fspath(place / "bin" / "python"), **facts}
    with contextlib.suppress(OSError, ValueError, TypeError):
        old = dict(json.loads(path.read_text(encoding="utf-8")))
        if {**old, **record} == old:
            return old
    record["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(path, record)
    return record
