from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import toys

from tvmkd.base.errors import InputError
from tvmkd.bench.engines.conversion import convert, native, output_shapes, reason, shaped

ONNX = Path("m.onnx")


def _python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_the_results_are_weighed(tmp_path: Path) -> None:
    write = _python("open('a', 'w').write('123'); open('b', 'w').write('4567')")
    assert convert(write, tmp_path, ["a", "b"], ONNX) == 7


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print('[20:28:53] :220: These Op Not Support: Foo'); print('Bye')", "These Op Not .*Foo"),
        ("print('Op Foo is not supported'); print('Converted Failed!'); print('Bye')", "Op Foo is"),
        ("import sys; print('read'); print('\\x1b[1;31mran\\x1b[m'); sys.exit(3)", "ran$"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", "the converter was ended by signal 11"),
    ],
)
def test_a_converter_that_fails_in_any_way_is_an_error(tmp_path: Path, code: str, why: str) -> None:
    with pytest.raises(InputError, match=f"m.onnx: not converted: {why}"):
        convert(_python(code), tmp_path, ["a"], ONNX)


def test_a_converter_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.onnx: not converted in 0 s"):
        convert(_python("import time; time.sleep(60)"), tmp_path, ["a"], ONNX, seconds=0.05)


def test_a_long_reason_is_cut() -> None:
    assert len(reason("error " * 100, 1)) == 200


def test_free_sizes_of_outputs_are_those_of_the_inputs(tmp_path: Path) -> None:
    path = toys.onnx_file(tmp_path / "m.onnx", shape=("n", 8))
    assert output_shapes(path, {"x": np.zeros((3, 8))}) == {"y": (3, 8)}
    assert output_shapes(path, {}) == {"y": None}


def test_outputs_get_the_dimensions_that_an_engine_dropped() -> None:
    array = np.arange(6.0)
    first, second, third = shaped([array] * 3, [(1, 2, 3), None, (7,)])
    assert (first.shape, second.shape, third.shape) == ((1, 2, 3), (6,), (6,))
    (scalar,) = shaped([np.zeros(1)], [()])
    assert scalar.shape == ()


def test_64_bits_become_32() -> None:
    whole, part, real = native(
        [np.zeros(2, np.int64), np.zeros((4, 4), np.uint8)[:, ::2], np.ones(1)]
    )
    assert (whole.dtype, part.dtype, real.dtype) == (np.int32, np.uint8, np.float64)
    assert part.flags.c_contiguous
