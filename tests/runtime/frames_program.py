"""Compiles the part of the standalone runtime that takes frames, with sanitizers, and feeds it."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tvmkd.base.frame_description import Frames
from tvmkd.runtime.standalone_program import NATIVE
from tvmkd.stacks.standalone import frames as written
from tvmkd.stacks.standalone import source
from tvmkd.stacks.standalone.graph import Call, Graph, Place, Storage, Tensor
from tvmkd.stacks.standalone.library import RUNTIME

FLAGS = ("-std=gnu11", "-O1", "-g", "-ffp-contract=off", "-Wno-psabi")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
RACES = ("-fsanitize=thread",)
HEAD, ANSWER = "<6i2d", "<3i100s"
ROW = np.dtype([("box", "<f4", 4), ("score", "<f4"), ("label", "<i4")])


def _object(path: Path, folder: Path, sanitize: tuple[str, ...]) -> Path:
    made = folder / f"{path.stem}.o"
    command = ["gcc", *FLAGS, *sanitize, f"-I{NATIVE}", "-c", str(path), "-o", str(made)]
    subprocess.run(command, check=True)
    return made


@functools.cache
def _runtime(sanitize: tuple[str, ...]) -> tuple[Path, ...]:
    """The runtime's object files, compiled once a process."""
    folder = Path(tempfile.mkdtemp(prefix="tvmkd-frames-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    names = (*RUNTIME, *written.SOURCES)
    sources = [Path(__file__).with_suffix(".c"), *(NATIVE / f"{name}.c" for name in names)]
    return tuple(_object(path, folder, sanitize) for path in sources)


@dataclass
class Case:
    """A frame, what the network is to answer, and what is asked for."""

    pixels: np.ndarray
    outputs: list[np.ndarray] = field(default_factory=list)
    order: int = 0
    stride: int = 0
    room: int = 300
    threshold: float = 0.0
    overlap: float = 0.0
    size: tuple[int, int] | None = None

    def packed(self) -> bytes:
        """As ``frames_program.c`` reads it; a stride pads the rows, a negative one turns them."""
        height, width = self.size or self.pixels.shape[:2]
        rows = self.pixels.reshape(len(self.pixels), -1)
        stride = self.stride or rows.shape[1]
        padded = np.full((len(rows), abs(stride)), 77, np.uint8)
        padded[:, : rows.shape[1]] = rows
        if stride < 0:
            padded = padded[::-1]
        head = struct.pack(
            HEAD, width, height, self.order, len(rows), stride, self.room,
            self.threshold, self.overlap,
        )  # fmt: skip
        return (
            head + padded.tobytes() + b"".join(np.float32(each).tobytes() for each in self.outputs)
        )


@dataclass
class Found:
    """What a frame gave."""

    status: int
    total: int
    error: str
    seen: np.ndarray | None = None
    rows: np.ndarray | None = None


class FrameProgram:
    """A model with one kernel, which gives what a test wants.

    Args:
        folder: for files.
        frames: what is done with frames.
        shapes: of the input and of the outputs.
        sanitize: what to look for.
    """

    def __init__(
        self,
        folder: Path,
        frames: Frames,
        *shapes: tuple[int, ...],
        sanitize: tuple[str, ...] = SANITIZE,
    ) -> None:
        if shutil.which("gcc") is None:
            pytest.skip("there is no gcc")
        self._shapes = shapes
        kinds = [(Place.INPUT, 0), *((Place.OUTPUT, number) for number in range(len(shapes) - 1))]
        tensors = tuple(
            Tensor(Storage(place, number, 4 * int(np.prod(shape))), shape, np.dtype("f4"))
            for (place, number), shape in zip(kinds, shapes, strict=True)
        )
        constants = () if frames.detector is None else (frames.detector.anchors,)
        specs = [{"name": f"t{number}", "shape": shape, "dtype": "float32"}
                 for number, shape in enumerate(shapes)]  # fmt: skip
        about = source.About(
            "net", "host", "a test", "0", specs[:1], specs[1:], 2, (), 0, frames=frames
        )
        graph = Graph((Call("kernel", "kernel", tensors),), constants, (1,))
        text = folder / "net.c"
        text.write_text(source.write(graph, about) + source.entry("net"))
        numbers = constants[0].view(np.uint32).ravel() if constants else np.zeros(1, np.uint32)
        (folder / "constants.c").write_text(
            f"#include <stdint.h>\n_Alignas(64) const uint32_t {source.constants('net')}[] = "
            f"{{{', '.join(map(str, numbers))}}};\n"
        )
        self._program = folder / "program"
        parts = [_object(path, folder, sanitize) for path in (text, folder / "constants.c")]
        objects = map(str, (*parts, *_runtime(sanitize)))
        command = ["gcc", *sanitize, *objects, "-lm", "-lpthread"]
        subprocess.run([*command, "-o", str(self._program)], check=True)

    def __call__(self, cases: list[Case], threads: int = 1) -> list[Found]:
        """Runs the cases one after the other in one instance."""
        done = subprocess.run(
            [str(self._program), str(threads)],
            input=b"".join(case.packed() for case in cases),
            capture_output=True,
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"},
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        data, found = done.stdout, []
        for _ in cases:
            status, count, total, error = struct.unpack_from(ANSWER, data)
            data = data[struct.calcsize(ANSWER) :]
            one = Found(status, total, error.rstrip(b"\0").decode())
            if not status:
                size = int(np.prod(self._shapes[0]))
                one.seen = np.frombuffer(data, "<f4", size).reshape(self._shapes[0])
                data = data[4 * size :]
                one.rows = np.frombuffer(data, ROW, count)
                data = data[count * ROW.itemsize :]
            found.append(one)
        assert not data
        return found
