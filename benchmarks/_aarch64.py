"""A small AArch64 system with Python and engines, whose programs run under QEMU and are counted.

The system is a folder: Debian's arm64 packages of Python, unpacked with ``dpkg-deb``, and the
AArch64 wheels of numpy, TVM and the peers. apt reads a configuration of its own, so the system's
architectures stay as they are. QEMU redirects the absolute paths of a guest into the folder where
they exist there; ``/proc/cpuinfo`` and the files below ``/sys`` are those of the board's CPU, since
ONNX Runtime does not start with an x86 processor's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from _qemu import CODE, PROGRAMS, Counts, between, plugin, run_tool

from tvmkd.base import folders, resources, wheels
from tvmkd.base.errors import MissingError

GUEST = Path(__file__).with_name("_guest.py")
PYTHON = "3.11"  # of Debian 12
SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEBIAN = ("python3-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1")
PLATFORMS = ("2_28", "2_27", "2_24", "2_17")  # manylinux: of glibc
PEERS = ("onnxruntime", "ncnn")
PACKAGES = ("numpy", *PEERS, "ml_dtypes", "typing_extensions", "psutil")
IDS = {"cortex-a57": "0xd07", "cortex-a72": "0xd08"}
L2 = {"cortex-a57": "2048K", "cortex-a72": "1024K"}
SECONDS = 900.0


def versions() -> list[str]:
    """What pip installs in the system, in the versions of this machine."""
    wanted = [f"apache-tvm=={wheels.TVM_VERSION}", f"apache-tvm-ffi=={wheels.FFI_VERSION}"]
    for name in PACKAGES:
        try:
            wanted.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            wanted.append(name)
    return wanted


def root(cpu: str) -> Path:
    """The system's folder for a CPU, made once: about 100 MB are downloaded.

    Raises:
        MissingError: apt, dpkg or pip are missing or fail.
    """
    base = resources.cache("aarch64")
    key = hashlib.sha256(repr((DEBIAN, SUITE, versions())).encode()).hexdigest()[:12]

    def fill(folder: Path) -> None:
        print(f"making an AArch64 system in {base} (about 100 MB are downloaded)", flush=True)
        _debian(folder)
        _wheels(folder / "site")

    made = folders.make_once(base / f"system-{key}", fill)
    _describe(made, cpu)
    return made


def _debian(folder: Path) -> None:
    """Unpacks Debian's packages into ``folder``."""
    if not KEYRING.exists():
        raise MissingError(f"{KEYRING} is missing: sudo apt-get install debian-archive-keyring")
    apt = folder / ".apt"
    for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "debs"):
        (apt / name).mkdir(parents=True)
    (apt / "etc" / "preferences.d").mkdir()
    (apt / "status").touch()
    (apt / "apt.conf").write_text(
        f'Dir::State "{apt}/state";\nDir::State::status "{apt}/status";\n'
        f'Dir::Cache "{apt}/cache";\nDir::Etc "{apt}/etc";\nAPT::Architecture "arm64";\n'
        'APT::Architectures { "arm64"; };\nAPT::Sandbox::User "";\nAcquire::Languages "none";\n'
    )
    (apt / "etc" / "sources.list").write_text(
        f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {SUITE} main\n"
    )
    env = {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}
    needs = "Debian's apt and the network"
    run_tool(["apt-get", "update", "-q"], needs, env=env)
    listed = run_tool(
        ["apt-get", "-y", "--no-install-recommends", "--print-uris", "install", *DEBIAN],
        needs, env=env,
    )  # fmt: skip
    # 'URL' NAME_VERSION_ARCHITECTURE.deb SIZE HASH
    names = [line.split()[1].split("_")[0] for line in listed.splitlines() if line[:1] == "'"]
    run_tool(["apt-get", "download", "-q", *names], needs, env=env, cwd=apt / "debs")
    for path in sorted((apt / "debs").glob("*.deb")):
        run_tool(["dpkg-deb", "-x", str(path), str(folder)], "Debian's dpkg")
    shutil.rmtree(apt)


def _wheels(site: Path) -> None:
    """Unpacks the AArch64 wheels into ``site``."""
    site.mkdir()
    into = site / ".wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into)]
    command += ["--only-binary=:all:", "--python-version", PYTHON, "--disable-pip-version-check"]
    for number in PLATFORMS:
        command += ["--platform", f"manylinux_{number}_aarch64"]
    run_tool([*command, "--platform", "manylinux2014_aarch64", *versions()], "pip and the index")
    for path in sorted(into.glob("*.whl")):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(site)
    shutil.rmtree(into)


def _describe(folder: Path, cpu: str) -> None:
    """Writes what a program reads about the processor: one core of the board's."""
    part = IDS.get(cpu, IDS["cortex-a57"])
    files = {
        "proc/cpuinfo": (
            "processor\t: 0\nBogoMIPS\t: 38.40\n"
            "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\n"
            f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n"
            f"CPU part\t: {part}\nCPU revision\t: 1\n\n"
        )
    }
    cpus = "sys/devices/system/cpu"
    files |= dict.fromkeys((f"{cpus}/{name}" for name in ("possible", "present", "online")), "0")
    files |= {
        f"{cpus}/kernel_max": "0",
        f"{cpus}/cpu0/topology/physical_package_id": "0",
        f"{cpus}/cpu0/topology/cluster_cpus_list": "0",
        f"{cpus}/cpu0/cache/index2/level": "2",
        f"{cpus}/cpu0/cache/index2/size": L2.get(cpu, L2["cortex-a57"]),
        f"{cpus}/cpu0/cache/index2/shared_cpu_list": "0",
        f"{cpus}/cpu0/cpufreq/cpuinfo_min_freq": "102000",
        f"{cpus}/cpu0/cpufreq/cpuinfo_max_freq": "1479000",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text().strip() != text.strip():
            path.write_text(text.rstrip() + "\n" * (2 if "cpuinfo" in name else 1))


@dataclass(frozen=True)
class Counted:
    """What one inference takes.

    Attributes:
        instructions: retired.
        blocks: that ran, see `_qemu.between`.
        maps: the guest's mapped files: first and last address, offset, path.
        codes: of the blocks.
        outputs: of the model.
    """

    instructions: float
    blocks: np.ndarray
    maps: list[tuple[int, int, int, str]]
    codes: list[bytes]
    outputs: list[np.ndarray]


def count(
    job: dict[str, Any], inputs: dict[str, np.ndarray], cpu: str, folder: Path, runs: int = 1
) -> Counted:
    """Runs a model in the emulated system with one thread, and counts.

    Args:
        job: ``engine``, ``model`` and what else `_guest` needs for the engine.
        inputs: of the model.
        cpu: QEMU's name of the CPU.
        folder: for the files that are exchanged.
        runs: how many runs are counted, after two that are not.

    Raises:
        MissingError: the engine failed, with the last line it wrote.
    """
    system, counts = root(cpu), folder / "counts"
    folder.mkdir(parents=True, exist_ok=True)
    job = {**job, "counts": str(counts), "warm": 2, "runs": runs, "inputs": list(inputs)}
    (folder / "job.json").write_text(json.dumps(job))
    np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
    command = [PROGRAMS["aarch64"], "-cpu", cpu, "-L", str(system)]
    command += ["-plugin", f"file={plugin()},counts={counts}"]
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(system / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TVM_USE_RUNTIME_LIB": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TVM_NUM_THREADS"), "1"),
    }
    command += [str(system / "usr" / "bin" / f"python{PYTHON}"), str(GUEST), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise MissingError(f"{job['engine']}: no result in {SECONDS:.0f} s under QEMU") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MissingError(f"{job['engine']} under QEMU: {lines[-1][:200]}")
    before, start, end = (Counts.read(folder / name) for name in ("before", "start", "end"))
    cost = start.instructions - before.instructions
    loaded = np.load(folder / "outputs.npz")
    blocks, code = between(end, start, 1 / runs), code_of(counts)
    sizes = 4 * blocks["instructions"]
    found = Counted(
        (end.instructions - start.instructions - cost) / runs,
        blocks,
        read_maps((folder / "maps").read_text()),
        [code[at : at + size] for at, size in zip(blocks["code"], sizes, strict=True)],
        [loaded[str(number)] for number in range(len(loaded.files))],
    )
    for name in ("counts", "before", "start", "end"):
        (folder / name).unlink()
    return found


def code_of(path: Path) -> bytes:
    """The code of all blocks in the plugin's file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(16)[8:], "little")
        file.seek(CODE)
        return file.read(size)


def read_maps(text: str) -> list[tuple[int, int, int, str]]:
    """The mapped files of ``/proc/self/maps``: first and last address, offset, path."""
    found = []
    for line in text.splitlines():
        parts = line.split(None, 5)
        if len(parts) == 6 and parts[5].startswith("/"):
            first, last = (int(part, 16) for part in parts[0].split("-"))
            found.append((first, last, int(parts[2], 16), parts[5]))
    return found
