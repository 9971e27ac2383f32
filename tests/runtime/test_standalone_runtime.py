"""The C runtime of standalone libraries under gcc's sanitizers: ``standalone_stress.c``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tvmkd.base import machine
from tvmkd.runtime.standalone_program import NATIVE
from tvmkd.stacks.standalone import source
from tvmkd.stacks.standalone.library import RUNTIME

SOURCE = Path(__file__).with_name("standalone_stress.c")
CASES = (
    "eight_threads",
    "handed_on",
    "open_and_close",
    "errors",
    "options",
    "forked",
    "deadlines",
)
FLAGS = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-ftls-model=initial-exec"]


def compiled(folder: Path, *flags: str) -> Path:
    out = folder / "stress"
    files = [SOURCE, *(NATIVE / f"{name}.c" for name in RUNTIME)]
    command = ["gcc", *FLAGS, *flags, f"-I{NATIVE}", *map(os.fspath, files), "-lm", "-lpthread"]
    done = subprocess.run([*command, "-o", os.fspath(out)], capture_output=True, text=True)
    if "cannot find" in done.stderr:
        pytest.skip("gcc has no sanitizers here: apt install gcc")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module", params=["thread", "address,undefined"])
def stress(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shutil").which("gcc") or pytest.skip("no gcc: apt install gcc")
    flags = (f"-fsanitize={request.param}", "-fno-sanitize-recover=all")
    return compiled(tmp_path_factory.mktemp("stress"), *flags)


@pytest.mark.parametrize("case", CASES)
def test_what_users_do(stress: Path, case: str) -> None:
    """Data races, overflows and leaks end the program."""
    done = subprocess.run([stress, case, "20"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", ["eight_threads", "open_and_close"])
def test_what_users_do_for_long(stress: Path, case: str) -> None:
    """10,000 times opened and closed."""
    done = subprocess.run([stress, case, "200"], capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


@pytest.mark.skipif(machine.architecture() != "x86_64", reason="CPUID is x86's")
def test_the_cpu_says_what_the_kernel_says(tmp_path: Path) -> None:
    names = list(source._X86)
    needs = ", ".join("NEED_X86({:#x}, {}, {})".format(*source._X86[name]) for name in names)
    text = tmp_path / "has.c"
    text.write_text(
        '#include <stdio.h>\n#include "runtime.h"\n'
        f"static const uint32_t needs[] = {{{needs}}};\n"
        "int main(void) { for (size_t i = 0; i < sizeof needs / 4; i++)"
        ' printf("%d\\n", tvmkd_rt_has(needs[i])); }\n'
    )
    program = tmp_path / "has"
    files = [os.fspath(text), os.fspath(NATIVE / "cpu.c")]
    subprocess.run(["gcc", f"-I{NATIVE}", *files, "-o", os.fspath(program)], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    found = {name for name, has in zip(names, said, strict=True) if has == "1"}
    assert found == machine.cpu_features().intersection(names)
