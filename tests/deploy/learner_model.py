"""Compiles ``learner_model.c`` with a head's weights."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import learner_heads

from tvmkd.base.toolchain import host_compiler
from tvmkd.deploy.native_programs import HEADERS

SOURCE = Path(__file__).with_name("learner_model.c")


def shared(out: Path, digest: str = learner_heads.MODEL.hex()) -> Path:
    """The library of `learner_heads.head`, for this machine."""
    head = learner_heads.head()
    rows = ["{" + ", ".join(f"{value:.9g}f" for value in row) + "}" for row in head.weights[:4]]
    bias = ", ".join(f"{value:.9g}f" for value in head.bias[:4])
    text = (
        f"enum {{ CLASSES = 4, FEATURES = {learner_heads.FEATURES} }};\n"
        f'#define DIGEST "{digest}"\n'
        f"static const float weights[CLASSES][FEATURES] = {{{', '.join(rows)}}};\n"
        f"static const float bias[CLASSES] = {{{bias}}};\n"
    )
    (out.parent / "weights.h").write_text(text)
    command = [*host_compiler(), "-std=c11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra"]
    command += ["-I", os.fspath(HEADERS), "-I", os.fspath(out.parent), "-o", os.fspath(out)]
    subprocess.run([*command, os.fspath(SOURCE)], check=True)
    return out
