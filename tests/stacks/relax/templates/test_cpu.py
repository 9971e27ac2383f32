"""What the templates know of a core."""

from __future__ import annotations

from in_tvm import INSIDE, inside

from tvmkd import targets

if INSIDE:
    from tvmkd.stacks.relax.templates.cpu import Cpu


@inside("relax")
def test_registers_left_for_sums() -> None:
    assert Cpu().in_registers(8) == 14
    assert Cpu(lanes=4, registers=32).in_registers(8) == 14, "two registers a block"
    assert Cpu(lanes=16, registers=32).in_registers(8) == 30


@inside("relax")
def test_a_targets_facts() -> None:
    nano = Cpu.of(targets.load("jetson-nano").to_dict())
    assert (nano.threads, nano.lanes, nano.registers, nano.fma) == (4, 4, 32, 1)
    assert Cpu.of({"tvm": {"kind": "llvm"}, "cpu": None}) == Cpu()
