"""Extracts TVM's runtime libraries for a board from the wheels in the package index."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tvmkd.base import resources
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.base.folders import make_once

TVM_VERSION = "0.27.0.post1"
FFI_VERSION = "0.1.14.post1"


@dataclass(frozen=True)
class _Wheel:
    """A wheel in the index, its SHA-256, and the libraries in it that a board needs."""

    requirement: str
    platform: str
    sha256: str
    members: tuple[str, ...]


_WHEELS = {
    "aarch64": (
        _Wheel(
            f"apache-tvm=={TVM_VERSION}",
            "manylinux_2_28_aarch64",
            "4acfdb7653e4e1ba7a707bdf2833db72eb8fda7d04d99141f2a4e1da43171fb7",
            ("tvm/lib/libtvm_runtime.so", "tvm/lib/libtvm_runtime_extra.so"),
        ),
        _Wheel(
            f"apache-tvm-ffi=={FFI_VERSION}",
            "manylinux_2_24_aarch64",
            "c7a759781d4fbf2b99fa12f2741f250b882b06acc2747bb02831d491d1ac7d3c",
            ("tvm_ffi/lib/libtvm_ffi.so",),
        ),
    ),
}
NAMES = ("libtvm_ffi.so", "libtvm_runtime.so", "libtvm_runtime_extra.so")


def cache() -> Path:
    """The cache folder ``$XDG_CACHE_HOME/tvmkd/boards``."""
    return resources.cache("boards")


def version(package: str) -> str:
    """The version of an installed package, as its metadata has it; empty if it is not there."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def installed(package: str, inside: str) -> Path:
    """The path of a file or folder in an installed package; the package is not imported.

    Raises:
        MissingError: the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    path = Path(next(iter(places))) / inside if places else None
    if path is None or not path.exists():
        raise MissingError(f"{package}/{inside} is not installed: pip install apache-tvm")
    return path


def libraries(architecture: str, tell: Callable[[str], None] = lambda _: None) -> Path:
    """A folder with the three runtime libraries of an architecture, from the cache or the index.

    Args:
        architecture: ``aarch64``, or this machine's, whose wheels are installed.
        tell: gets one line for each step.

    Raises:
        UsageError: the index has no wheels for this architecture.
        MissingError: pip cannot download them.
    """
    if architecture == os.uname().machine:
        tell("taking the runtime libraries that are installed here")

        def copy(folder: Path) -> None:
            for name in NAMES:
                package = "tvm_ffi" if "ffi" in name else "tvm"
                shutil.copyfile(installed(package, f"lib/{name}"), folder / name)

        return make_once(cache() / f"libraries-{architecture}-{TVM_VERSION}", copy)
    if architecture not in _WHEELS:
        raise UsageError(
            f"the package index has no TVM {TVM_VERSION} for {architecture} boards, only for "
            f"{', '.join(_WHEELS)}"
        )

    def download(folder: Path) -> None:
        for wheel in _WHEELS[architecture]:
            tell(f"downloading {wheel.requirement} for {architecture}")
            _extract(_download(wheel, folder), wheel.members, folder)

    key = "-".join(wheel.sha256[:12] for wheel in _WHEELS[architecture])
    return make_once(cache() / f"libraries-{architecture}-{key}", download)


def _download(wheel: _Wheel, folder: Path) -> Path:
    """Downloads a wheel; pip verifies its hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    into = folder / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--python-version", "3.11", "--platform", wheel.platform]
    command += ["--disable-pip-version-check", "--dest", str(into), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True)
    requirements.unlink()
    found = list(into.glob("*.whl"))
    if done.returncode or len(found) != 1:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
        why = (lines or done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise MissingError(
            f"cannot download {wheel.requirement} for {wheel.platform} ({why.strip()}); "
            "it is needed once, and kept in the cache"
        )
    return found[0]


def _extract(wheel: Path, members: tuple[str, ...], folder: Path) -> None:
    """Extracts the named files from a wheel, and removes it."""
    with zipfile.ZipFile(wheel) as archive:
        for member in members:
            target = folder / Path(member).name
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            target.chmod(0o755)
    shutil.rmtree(wheel.parent)
