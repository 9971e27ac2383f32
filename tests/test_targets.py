from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tvmkd import targets
from tvmkd.base import machine
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.nvidia_driver import Gpu

SHIPPED = targets.shipped()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_targets_survive_the_way_to_the_worker(name: str) -> None:
    target = targets.load(name)
    assert target.name == name
    assert targets.Target.from_dict(json.loads(json.dumps(target.to_dict()))) == target
    assert set(target.precisions) == {"fp32", "fp16", "int8"}
    assert isinstance((target.host or target.tvm)["num-cores"], int)
    assert target.tvm["kind"] == ("cuda" if target.device == "cuda" else "llvm")
    triple = (target.host or target.tvm)["mtriple"]
    assert triple == target.toolchain.triple
    assert target.budget["model_ms"] < target.budget["total_ms"]


@pytest.mark.parametrize(
    ("more", "pays", "name"),
    [
        ([], True, "x86-64-v3"),
        (["avx_vnni"], True, "x86-64-v3-vnni"),
        (sorted(machine.X86_64_V4), True, "x86-64-v4"),
        (sorted(machine.X86_64_V4), False, "x86-64-v3"),
        ([*sorted(machine.X86_64_V4), "avx512_vnni"], True, "x86-64-v4-vnni"),
        ([*sorted(machine.X86_64_V4), "avx512_vnni"], False, "x86-64-v3"),
    ],
)
def test_the_host_uses_what_is_there_and_pays(
    more: list[str], pays: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = machine.X86_64_V3.union(more)
    monkeypatch.setattr(targets.machine, "architecture", lambda: "x86_64")
    monkeypatch.setattr(targets.machine, "cpu_features", lambda: features)
    monkeypatch.setattr(targets.wide_registers, "pay", lambda: pays)
    assert targets.load("host").name == name
    monkeypatch.setattr(targets.machine, "architecture", lambda: "aarch64")
    assert targets.load("host").name == "aarch64-generic"


def test_a_machine_without_a_target_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.machine, "architecture", lambda: "x86_64")
    monkeypatch.setattr(targets.machine, "cpu_features", lambda: frozenset({"sse2"}))
    with pytest.raises(InputError, match=r"no shipped target fits this x86_64 machine"):
        targets.load("host")


def test_an_unknown_name_gets_the_nearest_and_all() -> None:
    with pytest.raises(InputError, match=r'mean "jetson-nano"\?.*known: host, cuda, aarch64'):
        targets.load("jetson-nanno")


GOOD: dict[str, Any] = targets.load("x86-64-v3").to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"devise": "cpu"}, r'unknown key "devise"; did you mean "device"\?'),
        ({"device": "npu"}, r"device must be one of cpu, cuda"),
        ({"device": "cuda"}, r"a cuda target needs a \[host\] table"),
        ({"tvm": {}}, r'\[tvm\] has no "kind"'),
        ({"tvm": "llvm"}, r"tvm: wants a table, got 'llvm'"),
        ({"toolchain": {"triple": "x"}}, r'\[toolchain\]: the key "glibc" is missing'),
        ({"precisions": {}}, r"must have exactly fp32, fp16, int8"),
        ({"channel_multiple": True}, r"channel_multiple: wants a whole number, got True"),
    ],
)
def test_a_wrong_file_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        targets.Target.from_dict({**GOOD, **change}, where="my.toml")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    text = (targets.resources.folder("targets") / "raspberry-pi-4.toml").read_text()
    path = tmp_path / "my-board.toml"
    path.write_text(text)
    assert targets.load(path).name == "my-board"
    assert targets.load(str(path)).mcpu == "cortex-a72"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such target file"):
        targets.load(tmp_path / "gone.toml")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(InputError, match=r"bad.toml: not a TOML file: .*line 1"):
        targets.load(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        targets.load(tmp_path / "binary.toml")


def test_a_precision_that_does_not_pay_is_refused_or_warned_of() -> None:
    target = targets.load("raspberry-pi-4")
    assert target.check_pays("fp32") is None
    with pytest.raises(InputError, match="raspberry-pi-4: int8 does not pay there: the"):
        target.check_pays("int8")
    assert "no dot products" in str(target.check_pays("int8", allow_slow=True))


@pytest.mark.parametrize(
    ("capability", "pays", "reason"),
    [
        (53, True, "twice the fp32 rate"),
        (61, False, "slower than fp32 there"),
        (62, True, "twice the fp32 rate"),
        (70, True, "tensor cores"),
        (120, True, "tensor cores"),
    ],
)
def test_a_gpu_of_this_machine(
    capability: int, pays: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu("H200", capability, 1, 132, 65536, 49152, 1024, 32, 4800.0, False, (12, 8))
    monkeypatch.setattr(targets.nvidia_driver, "gpus", lambda: [gpu])
    target = targets.load("cuda")
    assert (target.device, target.tvm["arch"]) == ("cuda", f"sm_{capability}")
    assert target.cuda == targets.Cuda(f"sm_{capability}", "8.7", "", 132, 4800.0)
    assert target.toolchain == targets.load("host").toolchain
    assert targets.Target.from_dict(target.to_dict()) == target
    assert target.precisions["fp16"] == targets.Precision(pays, reason)
    assert not target.precisions["int8"].ok


def test_a_machine_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.nvidia_driver, "LIBRARY", "libno-such-driver.so.1")
    with pytest.raises(MissingError, match="no NVIDIA driver"):
        targets.load("cuda")


@pytest.mark.parametrize(
    ("capability", "cuda", "reason"),
    [
        (50, (12, 8), "it is built for sm_53, and this GPU has 5.0"),
        (53, (10, 2), None),
        (120, (13, 0), None),
        (
            53,
            (9, 0),
            (
                "its code is PTX 6.4, and the driver here takes 6.0 at most (CUDA 9.0): build it "
                "for --target cuda, or update the driver"
            ),
        ),
    ],
)
def test_whether_a_gpu_here_runs_a_targets_code(
    capability: int,
    cuda: tuple[int, int],
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = targets.load("host")
    nano = dataclasses.replace(
        targets.load("jetson-nano-gpu"), host=host.tvm, toolchain=host.toolchain
    )
    gpu = Gpu("X1", capability, 1, 1, 32768, 49152, 1024, 32, 25.6, True, cuda)
    monkeypatch.setattr(targets.nvidia_driver, "gpus", lambda: [gpu])
    assert nano.why_not_here("standalone") == reason
    assert "only on a board's server" in str(nano.why_not_here())
    assert host.why_not_here() is None


def test_a_target_for_a_gpu_on_a_machine_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    host = targets.load("host")
    nano = targets.load("jetson-nano-gpu")
    here = dataclasses.replace(nano, host=host.tvm, toolchain=host.toolchain)
    monkeypatch.setattr(targets.nvidia_driver, "LIBRARY", "libno-such-driver.so.1")
    reason = str(here.why_not_here("standalone"))
    assert reason.startswith("its kernels run on an NVIDIA GPU: no NVIDIA driver (libno-such")
    assert here.runs_here("standalone") is None
