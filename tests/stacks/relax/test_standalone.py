"""The builder of standalone libraries; ``standalone/test_library.py`` runs what it makes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from relax_graphs import const, module
    from tvm import relax

    from tvmkd import targets
    from tvmkd.base.errors import InputError
    from tvmkd.stacks.relax import importer, standalone
    from tvmkd.stacks.relax.stack import tvm_target
    from tvmkd.stacks.relax.tasks import tasks_of


def builder(outside: Any = None, target: str = "host") -> Any:
    place = targets.load(target)
    goal = tvm_target(place.to_dict())
    mod = importer.fuse(module([(1, 4)], lambda x: relax.op.matmul(x, const(4, 8))), goal)
    spec = {"name": "x", "shape": [1, 4], "dtype": "float32"}
    info = SimpleNamespace(path=Path("my net.onnx"), name="my net", sha256="ab", metadata={})
    model: Any = SimpleNamespace(
        fused=mod, info=info, outside=outside, inputs=[spec], outputs=[{**spec, "shape": [1, 8]}]
    )
    return standalone.StandaloneBuilder(model, tasks_of(mod, goal, None), goal, place)


@inside("relax")
def test_the_files_of_an_artifact(tmp_path: Path) -> None:
    made = builder()
    library = made.library({}, tmp_path / "model.so", defaults=True)
    files = made.files(library)
    assert sorted(files) == [
        "CMakeLists.txt", "example.c", "libmy_net.a", "libmy_net.so", "my_net.h", "tvmkd.h",
    ]  # fmt: skip
    assert all(path.stat().st_size for path in files.values())
    assert "my_net_library" in files["my_net.h"].read_text()
    assert "@" not in files["example.c"].read_text()


@inside("relax")
def test_a_boards_server_gets_the_same_kernels_for_tvms_machine() -> None:
    made = builder()
    assert (made.runtime, made.over_rpc().runtime) == ("standalone", "tvm")
    assert made.over_rpc().tasks.keys() == made.tasks.keys()


@inside("relax")
def test_parts_of_another_engine_are_refused() -> None:
    outside = SimpleNamespace(notes=lambda: ["ONNX Runtime runs one node"])
    with pytest.raises(
        InputError, match=r"^my net\.onnx: cannot be .*: ONNX Runtime runs one node"
    ):
        builder(outside)


@inside("relax")
def test_a_library_says_what_it_needs() -> None:
    about = builder(target="x86-64-v3")._about(100)
    assert (about.target, about.digest, about.scratch) == ("x86-64-v3", "ab", 100)
    assert {"avx2", "fma"} <= set(about.features)
    assert tvm.__version__ in about.built_by
    nano = builder(target="jetson-nano")._about(0)
    assert (nano.threads, list(nano.features)) == (4, [])
