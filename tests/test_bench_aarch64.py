"""The benchmark of AArch64 instructions: its counts, its ratios, and LLVM's view of a loop."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import by_path
import numpy as np
import pytest

from tvmkd.base.errors import MissingError
from tvmkd.base.toolchain import zig

sys.path.append(str(by_path.ROOT / "benchmarks"))  # it imports what all benchmarks share
bench: Any = by_path.module("benchmarks/bench_aarch64.py", "benchmark_of_aarch64")
qemu: Any = sys.modules["_qemu"]
mca: Any = sys.modules["_mca"]
aarch64: Any = sys.modules["_aarch64"]

NO_QEMU = pytest.mark.skipif(qemu.why_not() is not None, reason=str(qemu.why_not()))
NO_LLVM = pytest.mark.skipif(mca.why_not() is not None, reason=str(mca.why_not()))
LOOP = bytes.fromhex("00cc214e00040091c1ffff54")
"""``fmla v0.4s, v0.4s, v1.4s; add x0, x0, #1; b.ne`` to the first of them."""


def _row(name: str, **millions: float) -> Any:
    return bench.Row(name, {engine: count * 1e6 for engine, count in millions.items()})


def test_each_network_is_compared_with_its_better_peer() -> None:
    rows = [_row("a", onnxruntime=4, ncnn=2, tvm=2), _row("b", onnxruntime=1, tvm=4)]
    mean, *each = bench.results(rows)
    assert [round(result.ratio, 6) for result in each] == [1.0, 4.0]
    assert mean.ratio == pytest.approx(2.0)
    assert not mean.holds
    assert bench.table(rows).splitlines()[2:] == [
        "| a | 4.0 | 2.0 | 2.0 | 1.00 |",
        "| b | 1.0 | fails | 4.0 | 4.00 |",
    ]


def test_where_tvm_fails_the_bar_is_missed_and_cycles_have_none() -> None:
    row = _row("a", onnxruntime=4)
    row.left_out["tvm"] = "wrong outputs"
    mean, each = bench.results([row])
    assert mean.ratio == math.inf
    assert not mean.holds
    assert each.note == "wrong outputs"
    row = _row("b", onnxruntime=4, tvm=4)
    row.cycles = {"onnxruntime": 1e6, "tvm": 3e6}
    mean, cycles, _ = bench.results([row])
    assert mean.holds
    assert cycles.ratio == pytest.approx(3.0)
    assert cycles.holds
    assert "4.0 (3.0)" in bench.table([row])


def _counts(*blocks: tuple[int, int, int, int]) -> Any:
    return qemu.Counts(0, 0, 0, np.array(list(blocks), qemu.BLOCK))


def test_blocks_between_two_counts_are_added_up_over_their_translations() -> None:
    start = _counts((0x10, 3, 5, 0), (0x20, 2, 7, 12))
    end = _counts((0x10, 3, 6, 0), (0x20, 2, 7, 12), (0x10, 3, 2, 20), (0x10, 1, 4, 32))
    assert end.instructions - start.instructions == 3 + 6 + 4
    found = qemu.between(end, start, 0.5)
    assert [tuple(block) for block in found] == [(0x10, 1, 2.0, 32), (0x10, 3, 1.5, 0)]


def test_only_files_are_read_from_the_maps() -> None:
    text = (
        "400000-500000 r-xp 00001000 fe:00 12   /a/model.so\n"
        "500000-600000 rw-p 00000000 00:00 0\n"
        "600000-700000 rw-p 00000000 00:00 0    [stack]\n"
    )
    assert aarch64.read_maps(text) == [(0x400000, 0x500000, 0x1000, "/a/model.so")]
    blocks = np.array([(0x3FFFFF, 1, 1, 0), (0x400000, 1, 1, 0)], qemu.BLOCK)
    inside, base = mca.in_library(blocks, aarch64.read_maps(text), Path("/a/model.so"))
    assert inside.tolist() == [False, True]
    assert base == 0x400000


@NO_LLVM
def test_a_chain_of_multiply_adds_waits_for_each_of_them() -> None:
    core = mca.CORES["cortex-a57"]
    chain, alone = mca.disassembled([LOOP, LOOP[4:]], core)
    assert chain[0] == "fmla\tv0.4s, v0.4s, v1.4s"
    assert len(chain) == 3
    slow, fast = mca.cycles([chain, alone], core)
    assert slow >= 5
    assert fast <= 1.1
    assert mca.cycles([["no instruction"]], core) == [1 / 3]


@NO_LLVM
def test_rare_blocks_count_as_their_instructions() -> None:
    core = mca.CORES["cortex-a57"]
    blocks = np.zeros(2, [*qemu.BLOCK.descr[:2], ("runs", "<f8"), qemu.BLOCK.descr[3]])
    blocks["instructions"], blocks["runs"] = 3, [1000, 2]
    hot, rare = mca.expected(blocks, [LOOP, LOOP], core)
    assert hot >= 5000
    assert rare == 2.0


@NO_LLVM
def test_a_score_adds_up_cycles_instructions_and_lines() -> None:
    score: Any = by_path.module("benchmarks/_score.py", "score_of_the_benchmarks")
    scorer = object.__new__(score.Scorer)
    scorer._machine = score.MACHINES["jetson-nano"]
    blocks = np.zeros(1, [*qemu.BLOCK.descr[:2], ("runs", "<f8"), qemu.BLOCK.descr[3]])
    blocks["instructions"], blocks["runs"] = 3, 1000
    found = scorer._joined(blocks, [LOOP], 100, 10, [0.5, 1.0])
    assert found.instructions == 3000
    assert found.mca >= 5000
    assert found.cycles == pytest.approx(found.mca + 0.05 * 3000 + 8 * 90 + 25 * 10)
    assert found.seconds == pytest.approx(found.cycles / 1.43e9)


PROGRAM = """
static volatile float data[1 << 16];
void _start(void) {
  for (int i = 0; i < ROUNDS; ++i)
    for (int j = 0; j < 1 << 16; j += 16) data[j] += 1;
  register long code __asm__("x0") = 0, call __asm__("x8") = 93; /* exit */
  __asm__ volatile("svc 0" ::"r"(code), "r"(call));
}
"""


@NO_QEMU
def test_the_plugin_counts_instructions_and_lines(tmp_path: Path) -> None:
    source, program, counts = (tmp_path / name for name in ("a.c", "a", "counts"))
    source.write_text(PROGRAM)
    command = [*zig(), "cc", "-target", "aarch64-linux-musl", "-nostdlib", "-static", "-O1"]
    found = []
    for rounds in (1, 2, 3):
        made = [*command, f"-DROUNDS={rounds}", "-o", program, source]
        subprocess.run(made, check=True, capture_output=True)
        plugin = f"file={qemu.plugin()},counts={counts},l1=32768:2,l2=1048576:16"
        run = [qemu.PROGRAMS["aarch64"], "-cpu", "cortex-a57", "-plugin", plugin, program]
        subprocess.run(run, check=True)
        found.append(qemu.Counts.read(counts))
    each = [b.instructions - a.instructions for a, b in itertools.pairwise(found)]
    assert abs(each[0] - each[1]) < 200
    assert 4 * 4096 <= each[1] <= 12 * 4096, "a load, an addition, a store, a jump and more"
    # 256 KB do not fit into the first cache, and stay in the second.
    assert found[2].l1_misses - found[1].l1_misses == pytest.approx(4096, rel=0.02)
    assert found[2].l2_misses - found[1].l2_misses < 50
    assert found[2].accesses - found[1].accesses >= 2 * 4096
    code = aarch64.code_of(counts)
    assert len(code) == 4 * int(found[2].blocks["instructions"].sum())


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["bench_aarch64.py", "--networks", "resnet18"])
    assert bench.main() == MissingError.exit_code
    assert "sudo apt-get install qemu-user" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["bench_aarch64.py", "--target", "x86-64-v3"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "x86-64-v3 is no AArch64 CPU" in capsys.readouterr().err


def test_a_tool_that_fails_is_a_missing_one() -> None:
    with pytest.raises(MissingError, match="no-such-tool is not installed; this needs apt"):
        qemu.run_tool(["no-such-tool"], "apt")
    with pytest.raises(MissingError, match=r"sh fails \(why\); this needs apt"):
        qemu.run_tool(["sh", "-c", "echo why >&2; exit 1"], "apt")
