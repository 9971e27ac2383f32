"""Compiles CUDA C to PTX without a CUDA toolkit: NVRTC from NVIDIA's wheel.

NVRTC's PTX is newer than a board's driver accepts: NVRTC 12, the last version that compiles for
Maxwell (sm_53), writes 8.8, and the driver of CUDA 10.2 takes 6.5. The GPU's instructions are all
in older PTX versions too, so the version in the text is lowered to the driver's. ptxas then checks
the text, because it rejects instructions that this version does not have.

https://docs.nvidia.com/cuda/nvrtc/ and https://docs.nvidia.com/cuda/parallel-thread-execution/
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvmkd.base.errors import MissingError
from tvmkd.runtime.cuda_toolkit import capability, toolkit
from tvmkd.runtime.occupancy import occupancy

# TVM's prologue includes these two headers; NVRTC has them only with the 200 headers of libcu++.
_HEADERS = {
    "cuda/std/cstdint": """namespace cuda { namespace std {
typedef signed char int8_t; typedef unsigned char uint8_t;
typedef short int16_t; typedef unsigned short uint16_t;
typedef int int32_t; typedef unsigned int uint32_t;
typedef long long int64_t; typedef unsigned long long uint64_t;
} }
""",
    "cuda/std/type_traits": """namespace cuda { namespace std {
template <bool V> struct bool_constant { static constexpr bool value = V; };
template <class A, class B> struct is_same : bool_constant<false> {};
template <class A> struct is_same<A, A> : bool_constant<true> {};
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <class A> struct is_integral;
template <class A> struct is_signed;
template <class A> struct is_unsigned;
template <class A> struct is_floating_point;
template <bool V, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool V, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
} }
""",
}
# CUDA's own maximum of a number and NaN is the number.
_EXTREMES = """template <typename T> static __device__ __forceinline__ T tvmkd_max(T a, T b)
{ return a > b ? a : b; }
template <typename T> static __device__ __forceinline__ T tvmkd_min(T a, T b)
{ return a < b ? a : b; }
#define max tvmkd_max
#define min tvmkd_min
"""
_FIRST_KERNEL = 'extern "C" __global__'
_FACTS = {
    "registers": re.compile(r"Used (\d+) registers"),
    "shared_bytes": re.compile(r"(\d+) bytes smem"),
    "spill_bytes": re.compile(r"(\d+) bytes spill (?:stores|loads)"),
}


class CudaError(ValueError):
    """NVRTC cannot compile a source, or a GPU could not run its PTX; the message is the reason."""


@dataclass(frozen=True)
class KernelFacts:
    """Resources of one kernel, as ptxas reports them.

    Attributes:
        registers: 32-bit registers of each thread.
        shared_bytes: static shared memory of each block.
        spill_bytes: bytes of register spills (stores and loads) of each thread.
        threads: most threads of a block (``__launch_bounds__``), or None.
        occupancy: see `tvmkd.runtime.occupancy`, for blocks of ``threads``; None: they are unknown.
    """

    registers: int
    shared_bytes: int
    spill_bytes: int
    threads: int | None
    occupancy: float | None = None


@functools.cache
def _library(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise MissingError(f"{path}: NVRTC cannot be loaded: {error}") from None
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def require(arch: str) -> None:
    """Makes sure that kernels can be compiled and checked here, before any work.

    Raises:
        InputError: ``arch`` is no compute capability.
        MissingError: NVRTC or ptxas is not installed.
    """
    _library(toolkit(arch).nvrtc)


def _text(library: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, buffer)
    return buffer.value.decode(errors="replace")


def ptx(source: str, arch: str, ptx_version: str) -> str:
    """Compiles CUDA C to PTX.

    Args:
        source: CUDA C from TVM's code generator.
        arch: for example ``sm_53``.
        ptx_version: the newest PTX version that the board's driver accepts, for example ``6.4``.

    Raises:
        CudaError: the source does not compile; the message is the compiler's first error.
        MissingError: NVRTC is not installed.
    """
    tools = toolkit(arch)
    library, program = _library(tools.nvrtc), ctypes.c_void_p()
    count = len(_HEADERS)
    texts = (ctypes.c_char_p * count)(*(text.encode() for text in _HEADERS.values()))
    names = (ctypes.c_char_p * count)(*(name.encode() for name in _HEADERS))
    code = library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"kernels.cu", count, texts, names
    )
    if code:
        raise CudaError(f"NVRTC: {library.nvrtcGetErrorString(code).decode()}")
    try:
        # Options such as --fmad keep nvcc's defaults, as in TVM's own builds.
        options = [f"--gpu-architecture={arch.replace('sm_', 'compute_')}", "-w"]
        # Without one NVRTC names the missing header.
        options += [f"--include-path={folder}" for folder in tools.includes]
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if library.nvrtcCompileProgram(program, len(options), given):
            log = _text(library, "ProgramLog", program)
            errors = [line for line in log.splitlines() if "error" in line]
            raise CudaError(f"NVRTC: {(errors or [log.strip() or 'no message'])[0]}")
        text = _text(library, "PTX", program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    return as_version(text, ptx_version)


def as_version(text: str, ptx_version: str) -> str:
    """PTX of NVRTC as text of an older version, which has no ``used_bytes_mask``.

    That pragma tells ptxas which bytes of a load nobody reads, and nothing depends on it. A version
    that is older stays.
    """
    found = re.search(r"^\.version (\S+)$", text, re.MULTILINE)
    if found is None or _version(found[1]) > _version(ptx_version):
        new = f".version {ptx_version}"
        text = re.sub(r"^\.version .*$", new, text, count=1, flags=re.MULTILINE)
    return re.sub(r'^\s*\.pragma\s+"used_bytes_mask[^"]*";\n', "", text, flags=re.MULTILINE)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def keep_nan(source: str) -> str:
    """CUDA C of TVM's whose ``max(a, b)`` and ``min(a, b)`` are ``b`` where one of them is NaN.

    TVM's code for CPUs has the same rule, which `tvmkd.stacks.relax.nan` relies on.
    """
    head, found, kernels = source.partition(_FIRST_KERNEL)
    return f"{head}{_EXTREMES}{found}{kernels}" if found else source


def check(text: str, arch: str, registers_per_block: int | None = None) -> dict[str, KernelFacts]:
    """Checks with ptxas that ``arch`` can run this PTX; returns the facts of each kernel by name.

    Args:
        text: PTX.
        arch: for example ``sm_53``.
        registers_per_block: the GPU's limit. A kernel that needs more compiles, and fails on the
            board with ``LAUNCH_OUT_OF_RESOURCES``.

    Raises:
        CudaError: ptxas refuses the text, or a kernel needs too many registers.
        MissingError: ptxas is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="tvmkd-ptxas-") as folder:
        path = Path(folder) / "kernels.ptx"
        path.write_text(text)
        command = [
            os.fspath(toolkit(arch).ptxas),
            f"-arch={arch}",
            "-v",
            os.fspath(path),
            "-o",
            f"{folder}/kernels",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line or "fatal" in line]
        why = (lines or done.stderr.strip().splitlines() or ["no message"])[0]
        raise CudaError(f"ptxas -arch={arch}: {why.replace(os.fspath(path), 'kernels.ptx')}")
    bounds = dict(re.findall(r"\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+)", text))
    found = {}
    for part in done.stderr.split("Compiling entry function '")[1:]:
        name = part.partition("'")[0]
        numbers = {key: sum(map(int, each.findall(part))) for key, each in _FACTS.items()}
        threads = int(bounds[name]) if name in bounds else None
        share = None
        if threads is not None:
            needs = (threads, numbers["registers"], numbers["shared_bytes"])
            share = round(occupancy(capability(arch), *needs), 3)
        facts = found[name] = KernelFacts(**numbers, threads=threads, occupancy=share)
        # Registers are allocated to whole warps, in units of eight for each thread.
        used = -(-facts.registers // 8) * 8 * -(-(threads or 0) // 32) * 32
        if registers_per_block is not None and used > registers_per_block:
            raise CudaError(
                f"{name}: {facts.registers} registers a thread for {threads} threads are more "
                f"than the {registers_per_block} that a block has on {arch}"
            )
    return found


_checked: dict[str, KernelFacts] = {}  # every kernel that this process has compiled


def settings(target: Mapping[str, Any]) -> dict[str, Any] | None:
    """The argument of :func:`install` for a ``Target.to_dict()``; None if it has no GPU."""
    if target.get("device") != "cuda":
        return None
    return {**target["cuda"], "registers_per_block": target["tvm"].get("registers_per_block")}


def install(cuda: Mapping[str, Any]) -> None:
    """Lets TVM compile CUDA kernels with `ptx` and `check` in this process from now on.

    Args:
        cuda: the result of :func:`settings`.

    Raises:
        MissingError: NVRTC or ptxas is not installed.
    """
    import tvm

    require(cuda["arch"])
    # TVM would compile for the GPU of this machine if it found a CUDA driver.
    os.environ["TVM_COMPILE_FORCE_FALLBACK"] = "1"

    def compiled(source: str, _target: object) -> str:
        text = ptx(keep_nan(source), cuda["arch"], cuda["ptx_max"])
        _checked.update(check(text, cuda["arch"], cuda["registers_per_block"]))
        return text

    tvm.register_global_func("tvm_callback_cuda_postproc", compiled, override=True)


def facts(kernel: str) -> dict[str, Any]:
    """The largest value of each `KernelFacts` field over a kernel's GPU functions.

    Of the occupancies the smallest.

    Args:
        kernel: the kernel's name in the model; its GPU functions are ``NAME_kernel``,
            ``NAME_kernel_1``...

    Returns:
        The values by field; empty if this process has compiled no such function.
    """
    prefix = f"{kernel}_kernel"
    found = [
        asdict(each)
        for name, each in _checked.items()
        if name == prefix or (name.startswith(f"{prefix}_") and name[len(prefix) + 1 :].isdigit())
    ]
    if not found:
        return {}
    most = {key: max(each[key] or 0 for each in found) for key in found[0]}
    return {**most, "occupancy": min(each["occupancy"] or 0.0 for each in found)}
