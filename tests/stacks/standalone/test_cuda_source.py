from __future__ import annotations

from typing import Any

import numpy as np

from tvmkd.stacks.standalone.cuda_source import Launch, ptx, write
from tvmkd.stacks.standalone.graph import Call, Graph, Place, Storage, Tensor
from tvmkd.stacks.standalone.source import About

FLOAT = np.dtype(np.float32)
SPEC = {"name": "x", "shape": [1, 40], "dtype": "float32"}


def tensor(place: Place, number: int, size: int = 160) -> Tensor:
    return Tensor(Storage(place, number, size), (size // 4,), FLOAT)


def launch(kernel: str, *parameters: Tensor | int, **changes: Any) -> Launch:
    tensors = tuple(each for each in parameters if isinstance(each, Tensor))
    plain: dict[str, Any] = {"grid": (2, 3, 1), "block": (64, 1, 1), "shared": 0, **changes}
    return Launch(kernel, "", tensors, parameters, **plain)


def text(*calls: Call) -> str:
    about = About(
        name="my-net", target="nano", built_by="us", digest="ab", inputs=[SPEC], outputs=[SPEC],
        threads=1, features=(), scratch=0,
    )  # fmt: skip
    return write(Graph(calls, (np.ones(40, np.float32),), (len(calls),)), about, 53)


def test_launches_with_their_places_and_numbers() -> None:
    given, hidden = tensor(Place.INPUT, 0), tensor(Place.ARENA, 1)
    weight, made = tensor(Place.CONSTANTS, 0), tensor(Place.OUTPUT, 0)
    found = text(
        launch("first", given, weight, hidden, -1, label='conv: /a/"b", /c'),
        launch("second", hidden, made, grid=(1, 1, 1), block=(32, 2, 1), shared=1024),
        launch("first", hidden, weight, made, 7),
    )
    kernels = found[found.index("kernels[] = {") :]
    assert kernels.startswith('kernels[] = {\n  "first",\n  "second"\n}')
    # What a range of a profiler begins with; the rest belongs to it.
    names = found[found.index("ranges[] = {") :]
    assert names.startswith('ranges[] = {\n  "conv: /a/\\042b\\042, /c",\n  0,\n  0\n}')
    assert "{0, 4, 0, {2, 3, 1}, {64, 1, 1}, 0}" in found
    assert "{1, 2, 4, {1, 1, 1}, {32, 2, 1}, 1024}" in found
    assert "{0, 4, 6, {2, 3, 1}, {64, 1, 1}, 0}" in found
    assert "{UINT64_C(18446744073709551615), BY_VALUE}" in found
    # The output lies behind the input, at a multiple of 64.
    assert "input_places[] = {0}" in found
    assert "output_places[] = {192}" in found
    assert "{192, IN_OUTPUT}" in found
    assert ".io_bytes = 384" in found
    assert ".arena_bytes = 192" in found
    assert ".kernel_count = 2,\n  .launch_count = 3,\n  .argument_count = 10,\n" in found
    assert ".capability = 53" in found


def test_a_copy_needs_no_kernel() -> None:
    found = text(Call("copy", "", (tensor(Place.INPUT, 0), tensor(Place.OUTPUT, 0))))
    assert "{COPY, 2, 0, {0}, {0}, 160}" in found
    assert ".kernel_count = 0" in found
    assert "functions[1]" in found, "C has no empty arrays"


def test_the_name_of_the_ptx() -> None:
    assert ptx("my-net.v2") == "my_net_v2_ptx"
    assert "extern const char my_net_ptx[]" in text()
