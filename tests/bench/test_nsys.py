from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.bench import nsys

KERNELS: dict[str, dict[str, Any]] = {
    "fused_conv2d_relu": {
        "key": "a",
        "kind": "conv2d",
        "flop": 2e6,
        "ptxas": {"registers": 40, "occupancy": 0.5},
        "nodes": ["/conv/Conv", "/relu/Relu"],
    },
    "fused_matmul": {"key": "b", "kind": "dense", "flop": 1e6},
}


def export(path: Path, launches: list[tuple[str, int, int]], columns: str = "") -> Path:
    """What nsys writes, as far as it is read: begin, ns and name of each launch."""
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL)")
        made.execute(
            f"CREATE TABLE {nsys.TABLE} (start INTEGER, end INTEGER, deviceId INTEGER, "
            f"demangledName INTEGER, shortName INTEGER, registersPerThread INTEGER {columns})"
        )
        names = {name: number for number, name in enumerate({name for name, _, _ in launches})}
        made.executemany("INSERT INTO StringIds VALUES (?, ?)", [(n, v) for v, n in names.items()])
        made.executemany(
            f"INSERT INTO {nsys.TABLE} VALUES (?, ?, 0, ?, ?, 32)",
            [(begin, begin + took, names[name], names[name]) for name, begin, took in launches],
        )
    made.close()
    return path


def three_runs() -> list[tuple[str, int, int]]:
    """In each run a convolution twice, of two functions, a product, and a kernel of cuDNN."""
    found = []
    for run in range(3):
        at = 1_000_000 * run
        slow = 1000 * run  # the median is the second run's
        found += [
            ("fused_conv2d_relu_kernel", at, 10_000 + slow),
            ("fused_conv2d_relu_kernel_1", at + 20_000, 5_000),
            ("fused_conv2d_relu_kernel", at + 30_000, 10_000 + slow),
            ("fused_conv2d_relu_kernel_1", at + 50_000, 5_000),
            ("fused_matmul_kernel(float*, float*)", at + 60_000, 4_000),
            ("void cudnn::something<float>(int)", at + 70_000, 90_000),
        ]
    return found


def test_launches_become_kernels_of_a_run(tmp_path: Path) -> None:
    found = nsys.profile(export(tmp_path / "r.sqlite", three_runs()), KERNELS)
    assert (found.runs, found.others) == (3, 3)
    assert found.run_us == pytest.approx(1000)
    conv, matmul = found.kernels
    assert (conv.name, conv.launches, conv.kind) == ("fused_conv2d_relu", 4, "conv2d")
    assert conv.us == pytest.approx(2 * 11 + 2 * 5)
    assert conv.gflops == pytest.approx(2 * 2e6 / 32 / 1e3)
    assert (conv.registers, conv.occupancy) == (40, 0.5)
    assert (conv.nodes, matmul.nodes) == (["/conv/Conv", "/relu/Relu"], [])
    assert (matmul.us, matmul.launches, matmul.registers) == (pytest.approx(4), 1, None)
    assert found.gpu_us == pytest.approx(36)
    assert sum(kernel.share for kernel in found.kernels) == pytest.approx(1)


def test_one_run_has_no_time_from_run_to_run(tmp_path: Path) -> None:
    found = nsys.profile(export(tmp_path / "r.sqlite", three_runs()[:6]), KERNELS)
    assert (found.runs, found.run_us) == (1, None)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_bytes(b"no database" * 100), "nsys export --type sqlite"),
        (
            lambda path: sqlite3.connect(path).execute("CREATE TABLE a (b)"),
            "nsys profile --trace=cuda",
        ),
        (lambda path: export(path, [("other_kernel", 0, 5)]), "1 kernels, none of this artifact"),
    ],
)
def test_a_file_that_does_not_do(tmp_path: Path, make: Any, why: str) -> None:
    path = tmp_path / "r.sqlite"
    make(path)
    with pytest.raises(InputError, match=why) as caught:
        nsys.profile(path, KERNELS)
    assert str(path) in str(caught.value)
