from __future__ import annotations

import inspect
import subprocess
import sys

from tvmkd.runtime.tvm_process import light_stack


def test_the_light_stack_names_callers_reads_no_source_and_goes_away() -> None:
    real = inspect.stack
    with light_stack():
        frames = inspect.stack()
    assert inspect.stack is real
    assert frames[0].function == "test_the_light_stack_names_callers_reads_no_source_and_goes_away"
    assert frames[0].frame is inspect.currentframe()
    assert all(frame.code_context is None for frame in frames)
    assert [frame.function for frame in frames] == [frame.function for frame in real()]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_compiler_process_has_no_torch_and_one_thread() -> None:
    code = (
        "from tvmkd.runtime.tvm_process import import_compiler; tvm = import_compiler();"
        "import os, sys; print('torch' in sys.modules, len(os.listdir('/proc/self/task')),"
        "'libtvm_compiler' in open('/proc/self/maps').read(), tvm.s_tir.meta_schedule.__name__)"
    )
    assert run(code) == "False 1 True tvm.s_tir.meta_schedule"


def test_a_runtime_process_has_the_random_fill_and_no_compiler() -> None:
    code = (
        "from tvmkd.runtime.tvm_process import import_runtime; tvm = import_runtime();"
        "tvm.get_global_func('tvm.contrib.random.random_fill_for_measure');"
        "print('libtvm_compiler' in open('/proc/self/maps').read(), tvm.rpc.__name__)"
    )
    assert run(code) == "False tvm.rpc"


def test_a_process_that_runs_libraries_has_what_kernels_call() -> None:
    code = (
        "import os\n"
        "from tvmkd.runtime.tvm_process import load_extra\n"
        "os.environ['TVM_USE_RUNTIME_LIB'] = '1'\n"
        "import tvm\n"
        "name = 'tvm.contrib.sort.topk'\n"
        "before = tvm.get_global_func(name, allow_missing=True) is not None\n"
        "load_extra(tvm)\n"
        "print(before, tvm.get_global_func(name) is not None)"
    )
    assert run(code) == "False True"


def test_intrinsics_are_registered_when_they_are_first_needed() -> None:
    code = (
        "from tvmkd.runtime.tvm_process import import_compiler, register_intrinsics;"
        "tvm = import_compiler();"
        "import inspect; inspect.getmodule(run := lambda: 0);"
        "from tvm.s_tir import TensorIntrin as known;"
        "has = lambda name: known.get(name, allow_missing=True) is not None;"
        "names = 'dot_16x4_vnni', 'dot_4x4_i8i8s32_neon', 'wmma_fill_16x16x16_f16';"
        "print(*map(has, names)); register_intrinsics(); register_intrinsics();"
        "print(*map(has, names)); register_intrinsics(gpu=True); print(*map(has, names))"
    )
    assert run(code).splitlines() == ["False False False", "True True False", "True True True"]
