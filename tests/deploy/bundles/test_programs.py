"""What is compiled for a bundle; whether it works is said where each program is tested."""

from __future__ import annotations

import os
from pathlib import Path

import handmade
import pytest
from elftools.elf.elffile import ELFFile

from tvmkd.base.errors import MissingError
from tvmkd.base.toolchain import zig
from tvmkd.deploy.bundles import programs

MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}


@pytest.mark.parametrize("name", ["host", "jetson-nano"])
def test_four_programs_for_the_target(name: str) -> None:
    try:
        zig()
    except MissingError as error:
        pytest.skip(str(error))
    model = handmade.model(name)
    built = programs.build(model, lambda _: None)
    # The self-test takes the first.
    assert [each.place for each in built] == [
        "bin/tvmkd-run",
        "bin/tvmkd-server",
        "bin/tvmkd-stream",
        "bin/tvmkd-tool",
    ]
    for each in built:
        assert each.path.name.startswith(Path(each.place).name)
        assert os.access(each.path, os.X_OK)
        assert each.what
        with each.path.open("rb") as file:
            elf = ELFFile(file)
            assert elf.header.e_machine == MACHINES[model.target.architecture]
            kinds = {segment.header.p_type for segment in elf.iter_segments()}
        # What asks for a loader needs the board's libraries.
        assert ("PT_INTERP" not in kinds) == each.static, each.place


def test_what_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each program is asked for the target, and none has a model linked in."""
    asked = []

    def answer(name: str) -> object:
        def program(target: object, **more: object) -> Path:
            asked.append((name, target, more))
            return Path(name)

        return program

    for name in ("run_program", "server_program", "stream_program"):
        monkeypatch.setattr(programs.native_programs, name, answer(name))
    monkeypatch.setattr(programs.tool, "program", lambda architecture: Path(architecture))
    model = handmade.model()

    def tell(_: str) -> None:
        pass

    built = programs.build(model, tell)
    assert asked == [
        (name, model.target, {"tell": tell})
        for name in ("run_program", "server_program", "stream_program")
    ]
    assert [each.path.name for each in built] == [name for name, *_ in asked] + ["aarch64"]
