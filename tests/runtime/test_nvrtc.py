"""CUDA C to PTX for the Nano with the real compilers; their errors are one line."""

from __future__ import annotations

import re

import cuda_compilers
import pytest

from tvmkd.runtime import nvrtc

MISSING = cuda_compilers.missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

KERNEL = """
#ifdef __CUDACC_RTC__
  #include <cuda/std/cstdint>
  #include <cuda/std/type_traits>
#endif
using cuda::std::int64_t;
static_assert(sizeof(int64_t) == 8 && cuda::std::is_same_v<int, int>, "");
extern "C" __global__ void __launch_bounds__(BOUND) scale(float* y, const float* x) {
  __shared__ float part[64];
  part[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = 2.0f * part[63 - threadIdx.x];
}
"""


def test_a_kernel_becomes_ptx_for_the_old_driver() -> None:
    text = nvrtc.ptx(KERNEL.replace("BOUND", "64"), "sm_53", "6.4")
    assert re.search(r"^\.version 6\.4$", text, re.MULTILINE)
    assert re.search(r"^\.target sm_53$", text, re.MULTILINE)
    (facts,) = nvrtc.check(text, "sm_53", 32768).values()
    assert (facts.threads, facts.shared_bytes, facts.spill_bytes) == (64, 256, 0)
    assert 2 <= facts.registers <= 32


def test_a_hint_that_old_drivers_do_not_know_is_left_out() -> None:
    text = nvrtc.ptx(KERNEL.replace("BOUND", "64"), "sm_53", "6.4")
    load = re.search(r"^\s*ld\.shared.*$", text, re.MULTILINE)
    assert load is not None
    hinted = text.replace(load[0], f'\t.pragma "used_bytes_mask 255";\n{load[0]}')
    with pytest.raises(nvrtc.CudaError, match=r"used_bytes_mask.* requires PTX ISA"):
        nvrtc.check(hinted, "sm_53")
    assert nvrtc.as_version(hinted, "6.4") == text


def test_half_precision_finds_its_header() -> None:
    source = """#include <cuda_fp16.h>
extern "C" __global__ void half_scale(__half* y) { y[0] = __hmul(y[0], __float2half(2.0f)); }"""
    assert "half_scale" in nvrtc.check(nvrtc.ptx(source, "sm_53", "6.4"), "sm_53")


EXTREMES = """
extern "C" __global__ void k(float* y, int* n) {
  y[0] = max(0x0p+0f, min(y[1], y[2]));
  n[0] = max(n[1], ((int)threadIdx.x));
}
"""


def test_nan_passes_as_the_second_operand_of_an_extreme() -> None:
    own = nvrtc.ptx(EXTREMES, "sm_53", "6.4")
    assert "max.f32" in own  # which drops NaN, as PTX defines it
    text = nvrtc.ptx(nvrtc.keep_nan(EXTREMES), "sm_53", "6.4")
    assert "max.f32" not in text
    assert "min.f32" not in text
    # 0 > x ? 0 : x; the comparison is false for NaN.
    assert re.search(r"setp\.(lt|gt)\.f32", text)
    assert not re.search(r"setp\.(ltu|gtu|leu|geu)\.f32", text)
    assert nvrtc.check(text, "sm_53")


def test_source_without_a_kernel_stays_as_it_is() -> None:
    assert nvrtc.keep_nan("int x;") == "int x;"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("int broken(", "NVRTC: .*error"),
        ('extern "C" __global__ void k(int* y) { y[0] = __dp4a(1, 2, y[0]); }', "__dp4a"),
    ],
)
def test_source_that_the_gpu_does_not_support_is_refused(source: str, said: str) -> None:
    with pytest.raises(nvrtc.CudaError, match=said) as caught:
        nvrtc.ptx(source, "sm_53", "6.4")
    assert "\n" not in str(caught.value)


def test_ptxas_finds_instructions_of_a_newer_version() -> None:
    text = nvrtc.ptx(KERNEL.replace("BOUND", "64"), "sm_53", "6.4")
    young = text.replace("bar.sync", "barrier.cluster.arrive;\n\tbar.sync", 1)
    assert young != text
    with pytest.raises(nvrtc.CudaError, match=r"ptxas -arch=sm_53: .*kernels.ptx, line \d+; error"):
        nvrtc.check(young, "sm_53")


def test_a_kernel_with_too_many_registers_is_refused() -> None:
    text = nvrtc.ptx(KERNEL.replace("BOUND", "1024"), "sm_53", "6.4")
    nvrtc.check(text, "sm_53", 32768)
    with pytest.raises(nvrtc.CudaError, match=r"scale: .* registers a thread for 1024 threads"):
        nvrtc.check(text, "sm_53", 4096)


def test_text_that_is_old_enough_keeps_its_version() -> None:
    text = ".version 8.5\n.target sm_87\n"
    assert nvrtc.as_version(text, "9.0") == text
    assert nvrtc.as_version(text, "8.10") == text
    assert nvrtc.as_version(text, "7.4") == text.replace("8.5", "7.4")


@pytest.mark.parametrize(
    ("arch", "version"), [("sm_72", "7.4"), ("sm_87", "8.5"), ("sm_90", "8.8")]
)
def test_other_gpus(arch: str, version: str) -> None:
    text = nvrtc.ptx(KERNEL.replace("BOUND", "64"), arch, version)
    assert re.search(rf"^\.target {arch}$", text, re.MULTILINE)
    (facts,) = nvrtc.check(text, arch, 65536).values()
    assert facts.spill_bytes == 0
