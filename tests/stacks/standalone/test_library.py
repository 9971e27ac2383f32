"""Standalone libraries from ONNX files to programs that are linked with them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import graphs
import numpy as np
import onnx
import onnxruntime
import pytest
from elftools.elf.elffile import ELFFile
from onnx import TensorProto, helper

import tvmkd
from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.base.toolchain import zig
from tvmkd.boards import emulate, symbols

FILES = {
    "CMakeLists.txt",
    "example.c",
    "libnet.a",
    "libnet.so",
    "manifest.json",
    "net.h",
    "tvmkd.h",
}


def made(folder: Path, target: str) -> Path:
    onnx_file = graphs.separable(folder / "net.onnx")
    tvmkd.build(onnx_file, folder / "out", runtime="standalone", target=target)
    return folder / "out"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("host"), "host")


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("nano"), "jetson-nano")


def example(folder: Path, out: Path, *command: str) -> list[str]:
    """Compiles the example with the static library."""
    words = [*command, "-O1", "-Wall", "-Wextra", "-Werror", os.fspath(folder / "example.c")]
    words += [os.fspath(folder / "libnet.a"), "-lm", "-lpthread", "-o", os.fspath(out)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [os.fspath(out)]


def on_zeros(folder: Path) -> list[float]:
    session = onnxruntime.InferenceSession(folder.parent / "net.onnx")
    result: np.ndarray = session.run(None, {"x": np.zeros((1, 3, 20, 20), np.float32)})[0]
    return result.ravel()[:5].tolist()


def check_example(folder: Path, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    _, dtype, *values = done.stdout.split()
    assert dtype == "float32"
    np.testing.assert_allclose(list(map(float, values)), on_zeros(folder), rtol=1e-4, atol=1e-5)


def test_the_folder(host: Path, nano: Path) -> None:
    for folder, target in ((host, None), (nano, "jetson-nano")):
        assert {path.name for path in folder.iterdir()} == FILES
        manifest = tvmkd.artifact.read(folder)
        assert (manifest.runtime, manifest.library) == ("standalone", "libnet.so")
        assert target in (None, manifest.target["name"])


def test_only_the_entries_are_exported(host: Path) -> None:
    with (host / "libnet.so").open("rb") as file:
        found = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        names = {each.name for each in found if each["st_shndx"] != "SHN_UNDEF"}
    assert names - {""} == {"tvmkd_library_v1", "net_library"}


def test_it_needs_the_c_library_of_the_target_and_no_other(host: Path, nano: Path) -> None:
    for folder in (host, nano):
        target = targets.Target.from_dict(tvmkd.artifact.read(folder).target)
        symbols.check([folder / "libnet.so"], target.toolchain.glibc)
        with (folder / "libnet.so").open("rb") as file:
            dynamic = ELFFile(file).get_section_by_name(".dynamic")
            needed = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
        assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}


def test_the_example_with_glibc(host: Path, tmp_path: Path) -> None:
    check_example(host, example(host, tmp_path / "example", "gcc"))


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake: apt install cmake")
def test_the_example_with_cmake(host: Path, tmp_path: Path) -> None:
    for words in (["-S", host, "-B", tmp_path], ["--build", tmp_path]):
        subprocess.run(["cmake", *words], check=True, capture_output=True)
    check_example(host, [os.fspath(tmp_path / "example")])


def test_the_example_as_one_static_file(host: Path, tmp_path: Path) -> None:
    triple = f"{os.uname().machine}-linux-musl"
    command = example(host, tmp_path / "example", *zig(), "cc", "-target", triple, "-static")
    with (tmp_path / "example").open("rb") as file:
        assert ELFFile(file).get_section_by_name(".dynamic") is None
    check_example(host, command)


@pytest.mark.board
@pytest.mark.parametrize("kind", ["gnu.2.27", "musl"])
def test_the_example_on_an_emulated_nano(nano: Path, tmp_path: Path, kind: str) -> None:
    if reason := emulate.why_not():
        pytest.skip(reason)
    static = ["-static"] if kind == "musl" else []
    command = [*zig(), "cc", "-target", f"aarch64-linux-{kind}", *static]
    built = example(nano, tmp_path / "example", *command)
    runner = [emulate.QEMU, "-cpu", "cortex-a57", "-L", os.fspath(emulate.SYSTEM)]
    check_example(nano, [*runner, *built])


BOTH = (
    '#include <stdio.h>\n#include "net.h"\n#include "other.h"\nint main(void) {\n'
    "  tvmkd_instance *a, *b;\n"
    "  if (net_library()->open(0, &a) || other_library()->open(0, &b)) return 1;\n"
    "  net_library()->close(a); other_library()->close(b);\n"
    '  printf("%s %s\\n", net_library()->name, other_library()->name); }\n'
)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    tvmkd.build(graphs.separable(folder / "other.onnx"), folder / "out", runtime="standalone")
    return folder / "out"


def test_two_models_in_one_program(host: Path, other: Path, tmp_path: Path) -> None:
    """They share kernels and the runtime; each is the same as alone."""
    text = tmp_path / "both.c"
    text.write_text(BOTH)
    words = ["gcc", f"-I{host}", f"-I{other}", text, host / "libnet.a"]
    words += [other / "libother.a", "-lm", "-lpthread", "-o", tmp_path / "both"]
    subprocess.run(list(map(os.fspath, words)), check=True)
    said = subprocess.run([tmp_path / "both"], capture_output=True, text=True, check=True)
    assert said.stdout == "net other\n"


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake: apt install cmake")
def test_two_models_in_one_cmake_project(host: Path, other: Path, tmp_path: Path) -> None:
    """Neither has an example there: two targets of one name are refused."""
    (tmp_path / "both.c").write_text(BOTH)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(both C)\n"
        f"add_subdirectory({host} net)\nadd_subdirectory({other} other)\n"
        "add_executable(both both.c)\ntarget_link_libraries(both net_static other_static)\n"
    )
    for words in (["-S", tmp_path, "-B", tmp_path / "made"], ["--build", tmp_path / "made"]):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    said = subprocess.run([tmp_path / "made/both"], capture_output=True, text=True, check=True)
    assert said.stdout == "net other\n"


def test_models_with_other_runtimes_are_no_program(host: Path, nano: Path) -> None:
    """The names of the runtime's functions tell what it was compiled from, and for what."""
    found = []
    for folder in (host, nano):
        names = set(
            re.findall(
                rb"tvmkd_rt_(?:open|run|pool_start)\w*(?=\0)", (folder / "libnet.a").read_bytes()
            )
        )
        assert all(re.fullmatch(rb"tvmkd_rt_\w+_[0-9a-f]{8}", name) for name in names), names
        found.append({name[-8:] for name in names})
    assert [len(each) for each in found] == [1, 1]
    assert found[0] != found[1]


def small(path: Path, nodes: list[onnx.NodeProto], outputs: list[str], *shape: int | str) -> Path:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [given], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def test_outputs_that_are_inputs_or_constants_or_the_same(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Relu", ["x"], ["relu"]),
        helper.make_node("Identity", ["relu"], ["again"]),
        helper.make_node("Flatten", ["relu"], ["view"]),
        helper.make_node("Constant", [], ["constant"], value_floats=[1.0, 2.0]),
    ]
    names = ["same", "flat", "relu", "again", "view", "constant"]
    path = small(tmp_path / "odd.onnx", nodes, names, 2, 3, 4)
    tvmkd.build(path, tmp_path / "out", runtime="standalone")
    x = np.random.default_rng(0).standard_normal((2, 3, 4), np.float32)
    found = tvmkd.load(tmp_path / "out").run([x])
    wanted = onnxruntime.InferenceSession(path).run(names, {"x": x})
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


def test_sorting_and_sums_along_an_axis(tmp_path: Path) -> None:
    """TVM compiles these last, and sorts in its runtime."""
    nodes = [
        helper.make_node("Constant", [], ["k"], value_ints=[5]),
        helper.make_node("Constant", [], ["axis"], value_int=1),
        helper.make_node("CumSum", ["x", "axis"], ["sums"]),
        helper.make_node("TopK", ["sums", "k"], ["values", "numbers"]),
        helper.make_node("Cast", ["numbers"], ["which"], to=TensorProto.FLOAT),
    ]
    path = small(tmp_path / "best.onnx", nodes, ["values", "which"], 3, 40)
    tvmkd.build(path, tmp_path / "out", runtime="standalone")
    x = np.random.default_rng(0).standard_normal((3, 40), np.float32)
    found = tvmkd.load(tmp_path / "out").run([x])
    wanted = onnxruntime.InferenceSession(path).run(None, {"x": x})
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    static = [*zig(), "cc", "-target", f"{os.uname().machine}-linux-musl", "-static"]
    words = [*static, tmp_path / "out" / "example.c", tmp_path / "out" / "libbest.a"]
    subprocess.run(list(map(os.fspath, [*words, "-o", tmp_path / "example"])), check=True)
    subprocess.run([tmp_path / "example"], check=True, capture_output=True)


def test_a_branch_is_refused_in_one_line(tmp_path: Path) -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(kind, ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])],
        )
        for name, kind in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["some"], to=TensorProto.BOOL),
        helper.make_node("If", ["some"], ["y"], **branches),
    ]
    path = small(tmp_path / "branch.onnx", nodes, ["y"], 1, 3)
    why = r"branch\.onnx: cannot be a standalone library: .*; build it without --runtime standalone"
    with pytest.raises(InputError, match=why) as refused:
        tvmkd.build(path, tmp_path / "out", runtime="standalone")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_what_onnxruntime_would_run_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    path = small(tmp_path / "nonzero.onnx", nodes, [], 2, 3)
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.INT64, [2, "k"]))
    onnx.save(model, path)
    with pytest.raises(InputError, match="cannot be a standalone library: ONNX Runtime runs one"):
        tvmkd.build(path, tmp_path / "out", runtime="standalone")
