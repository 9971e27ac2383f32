"""Which engines are chosen, and what each gets to run: no engine, board or GPU is there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd import artifact
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.bench import selection
from tvmkd.bench.engines.base import Engine
from tvmkd.bench.selection import Board, Files
from tvmkd.bench.spec import EngineSpec
from tvmkd.boards import connect
from tvmkd.tensorrt import ssh

ONNX = Path("m.onnx")

pytestmark = pytest.mark.usefixtures("extras")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Artifacts that are not there: folder name to manifest."""
    manifests: dict[str, Any] = {}
    monkeypatch.setattr(artifact, "read", lambda path, verify=True: manifests[Path(path).name])
    return manifests


def _manifest(stack: str = "relax", device: str = "cpu", runtime: str = "tvm", **byoc: Any) -> Any:
    coverage = {"byoc": byoc} if byoc else {}
    target = {"device": device}
    return SimpleNamespace(stack=stack, coverage=coverage, target=target, runtime=runtime)


def _names(specs: list[EngineSpec]) -> list[str]:
    assert all(spec.name == spec.kind for spec in specs)
    return [spec.name for spec in specs]


def test_an_onnx_file_alone_runs_in_onnx_runtime() -> None:
    (spec,) = selection.select((), Files(ONNX))
    assert (spec.name, spec.path, spec.precision, spec.options) == (
        *("onnxruntime", ONNX, "fp32", {}),
    )


def test_without_names_everything_runs_whose_file_was_given() -> None:
    files = Files(ONNX, {"tvm": Path("a"), "tvm:relax": Path("a")}, Path("c.pt"))
    assert _names(selection.select((), files)) == ["torch", "torch.compile", "onnxruntime", "tvm"]
    files = Files(ONNX, {"tvm": Path("a"), "tvm:relax": Path("a"), "tvm:untuned": Path("u")})
    assert _names(selection.select((), files)) == ["onnxruntime", "tvm:untuned", "tvm"]
    found = selection.select((), Files(ONNX), gpu=["tensorrt-rtx"])
    assert _names(found) == ["onnxruntime", "tensorrt-rtx"]


def test_without_names_an_extra_runs_where_it_is_installed(extras: set[str]) -> None:
    assert _names(selection.select(["openvino"], Files(ONNX))) == ["openvino"]
    extras.add("openvino")
    assert _names(selection.select((), Files(ONNX))) == ["onnxruntime", "openvino"]


def test_engines_of_one_device(monkeypatch: pytest.MonkeyPatch, built: dict[str, Any]) -> None:
    monkeypatch.setattr(selection.tensorrt_device, "find", lambda: object())
    built.update(a=_manifest(), g=_manifest(device="cuda", runtime="standalone"))
    gpu = ["torch:cuda", "onnxruntime:cuda", "tensorrt"]
    cpu = Files(ONNX, {"tvm": Path("a"), "tvm:relax": Path("a")})
    assert _names(selection.select((), cpu, gpu=gpu, device="cpu")) == ["onnxruntime", "tvm"]
    there = Files(ONNX, {"tvm:standalone": Path("g"), "tvm": Path("g")}, Path("c.pt"))
    assert _names(selection.select((), there, gpu=gpu, device="gpu")) == [*gpu, "tvm:standalone"]
    # Without a checkpoint torch has nothing to run.
    assert _names(selection.select((), Files(ONNX), gpu=gpu, device="gpu")) == gpu[1:]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("onnxruntime", "give onnxruntime:cuda, onnxruntime:tensorrt, or give another --device"),
        ("torch.compile", "give torch.compile:cuda, or give another --device"),
        ("openvino", "leave it out, or give another --device"),
    ],
)
def test_a_named_engine_of_another_device_is_refused(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection.tensorrt_device, "find", lambda: object())
    with pytest.raises(UsageError, match=f"engine {name} does not run on the GPU: {hint}"):
        selection.select([name], Files(ONNX), device="gpu")


def test_engines_on_a_gpu_need_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection.tensorrt_device, "find", lambda: None)
    with pytest.raises(MissingError, match="there is no NVIDIA GPU here"):
        selection.select((), Files(ONNX), device="gpu")


def test_two_artifacts_are_told_apart_by_their_stacks() -> None:
    both = {"tvm": Path("a"), "tvm:relax": Path("a"), "tvm:relay": Path("b")}
    found = {spec.name: spec.path for spec in selection.select((), Files(ONNX, both))}
    assert found == {"onnxruntime": ONNX, "tvm:relax": Path("a"), "tvm:relay": Path("b")}


def test_one_with_regions_stands_beside_the_plain_one() -> None:
    built = {"tvm+tensorrt": Path("t"), "tvm": Path("a"), "tvm:relax": Path("a")}
    assert _names(selection.select((), Files(ONNX, built)))[1:] == ["tvm", "tvm+tensorrt"]
    alone = selection.select((), Files(ONNX, {"tvm+tensorrt": Path("t")}))
    assert _names(alone) == ["onnxruntime", "tvm+tensorrt"]


def test_named_engines_get_their_files_whether_given_or_not() -> None:
    names = ["torch", "tvm", "tvm:relay", "tensorrt", "bench.engines_for_tests:Matmul"]
    found = selection.select(names, Files(ONNX, {"tvm": Path("a")}))
    assert _names(found) == names
    assert [spec.path for spec in found] == [None, Path("a"), None, ONNX, ONNX]


def test_a_name_that_is_not_known_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match='did you mean "tensorrt"'):
        selection.select(["tensorr"], Files(ONNX))


def test_the_user_s_code_goes_to_pytorch_only() -> None:
    files = Files(ONNX, checkpoint=Path("c.pt"), model="mine:make", search_in=[Path("/here")])
    options = {"model": "mine:make", "search_in": ["/here"]}
    found = {spec.name: spec.options for spec in selection.select((), files)}
    assert found == {"torch": options, "torch.compile": options, "onnxruntime": {}}


@pytest.mark.parametrize(
    ("precision", "wanted"),
    [
        ("tf32", ["tf32", "tf32", "tf32", "fp32", "fp32"]),
        ("fp16", ["fp16", "fp32", "fp16", "fp32", "fp32"]),
        ("int8", ["int8", "fp32", "int8", "fp32", "fp32"]),
        ("fp32", ["fp32"] * 5),
    ],
)
def test_a_precision_is_for_the_engines_that_have_it(precision: str, wanted: list[str]) -> None:
    names = ["tensorrt", "onnxruntime:cuda", "onnxruntime:tensorrt", "onnxruntime", "tvm+tensorrt"]
    made = selection.select(names, Files(ONNX), precision)
    assert [spec.precision for spec in made] == wanted


def test_artifacts_are_named_after_what_built_them(built: dict[str, Any]) -> None:
    built["a"] = _manifest("relay")
    built["b"] = _manifest("relax")
    built["t"] = _manifest("relax", engine="tensorrt", regions=2)
    built["none"] = _manifest("relax", engine="tensorrt", regions=0)
    a, b, t, none = (Path(name) for name in ("a", "b", "t", "none"))
    assert selection.by_stack([a, b, t]) == {
        "tvm:relay": a,
        "tvm": a,
        "tvm:relax": b,
        "tvm+tensorrt": t,
    }
    assert selection.by_stack([none]) == {"tvm:relax": none, "tvm": none}
    with pytest.raises(InputError, match="b and none are both of the stack relax: give one"):
        selection.by_stack([b, none])
    with pytest.raises(InputError, match="t and t have regions for tensorrt: give one of each"):
        selection.by_stack([t, t])


def test_an_artifact_has_the_precision_of_its_regions(built: dict[str, Any]) -> None:
    built["a"] = _manifest()
    built["t"] = _manifest(engine="tensorrt", regions=1, precision="fp16")
    # ONNX Runtime computes a file as it is, inside of a library and alone.
    built["o"] = _manifest(engine="onnxruntime", regions=1, precision="int8")
    artifacts = {"tvm": Path("a"), "tvm+tensorrt": Path("t"), "tvm+onnxruntime": Path("o")}
    made = selection.select(list(artifacts), Files(ONNX, artifacts), "tf32")
    assert [spec.precision for spec in made] == ["fp32", "fp16", "fp32"]


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One board under every key, and one that ssh reaches; the destinations that were asked."""
    asked: list[str] = []

    class Remote:
        def __init__(self, destination: str) -> None:
            asked.append(destination)

        def close(self) -> None:
            asked.append("closed")

    monkeypatch.setattr(ssh, "RemoteEngine", Remote)
    monkeypatch.setattr(connect, "check", lambda host, port, key: [{}])
    return asked


TRACKER = ("127.0.0.1", 9190, "nano")
ADDRESS = {"host": "127.0.0.1", "port": 9190, "key": "nano"}


def _spec(name: str, path: str | None = "a") -> EngineSpec:
    return EngineSpec(name, name, path)


def test_engines_become_those_of_the_board(boards: list[str], built: dict[str, Any]) -> None:
    built["a"] = _manifest()
    specs = [_spec("tvm"), _spec("onnxruntime"), _spec("tensorrt"), _spec("tensorrt-rtx")]
    over_rpc = selection.on_board(specs, Board(TRACKER), named=False)
    assert [(spec.name, spec.kind, spec.options) for spec in over_rpc] == [
        ("tvm", "tvm@board", {"tracker": ADDRESS})
    ]
    assert boards == []
    (alone,) = selection.on_board(specs, Board(ssh="user@nano"), named=False)
    assert (alone.name, alone.kind) == ("tensorrt", "tensorrt@board")
    assert alone.options == {"ssh": "user@nano", "clock": "host"}
    assert boards == ["user@nano", "closed"]
    both = selection.on_board(specs, Board(TRACKER, "user@nano"), named=False)
    assert [spec.kind for spec in both] == ["tvm@board", "tensorrt@board"]
    assert [spec.path for spec in both] == ["a", "a"]


@pytest.mark.parametrize(
    ("devices", "clock"), [(["cuda"], "compute"), (["cuda", "cpu"], "host"), ([], "host")]
)
def test_tensorrt_on_a_board_is_timed_as_tvm_s_kernels_are(
    boards: list[str], built: dict[str, Any], devices: list[str], clock: str
) -> None:
    for device in devices:
        built[device] = _manifest(device=device)
    specs = [EngineSpec(device, "tvm", device) for device in devices]
    *_, tensorrt = selection.on_board(
        [*specs, _spec("tensorrt")], Board(TRACKER, "user@nano"), named=False
    )
    assert tensorrt.options["clock"] == clock


def test_a_standalone_library_is_an_engine_of_its_own(built: dict[str, Any]) -> None:
    built.update(
        a=_manifest(), s=_manifest(runtime="standalone"), t=_manifest(runtime="standalone")
    )
    alone = selection.by_stack([Path("s")])
    assert alone == {"tvm:standalone": Path("s"), "tvm": Path("s")}
    assert _names(selection.select((), Files(ONNX, alone))) == ["onnxruntime", "tvm:standalone"]
    both = selection.by_stack([Path("a"), Path("s")])
    found = _names(selection.select((), Files(ONNX, both)))
    assert found == ["onnxruntime", "tvm:relax", "tvm:standalone"]
    with pytest.raises(InputError, match="s and t are both standalone: give one"):
        selection.by_stack([Path("s"), Path("t")])


def test_a_standalone_library_runs_on_a_board_without_tensorrt(
    boards: list[str], built: dict[str, Any]
) -> None:
    specs = [_spec("onnxruntime"), _spec("tvm:standalone"), _spec("tensorrt")]
    found = selection.on_board(specs, Board(ssh="user@nano"), named=False)
    assert [spec.kind for spec in found] == ["tvm:standalone@board", "tensorrt@board"]
    assert boards == [], "TensorRT is not asked for: it may be left out"
    (alone,) = selection.on_board(specs, Board(emulated=True), named=False)
    assert (alone.kind, alone.options) == ("tvm:standalone@board", {"emulated": True})
    with pytest.raises(UsageError, match="engine tensorrt cannot run on a board"):
        selection.on_board(specs[2:], Board(emulated=True), named=True)
    assert selection.over_ssh() == ["tensorrt", "tvm:standalone"]


def test_a_named_engine_that_no_board_runs_is_refused(boards: list[str]) -> None:
    for board in (Board(TRACKER), Board(ssh="user@nano")):
        with pytest.raises(UsageError, match="engine torch cannot run on a board: tvm engines do"):
            selection.on_board([_spec("torch")], board, named=True)
    with pytest.raises(UsageError, match="engine tvm cannot run on a board"):
        selection.on_board([_spec("tvm")], Board(ssh="user@nano"), named=True)
    with pytest.raises(InputError, match="nothing to run on the board: give --artifact"):
        selection.on_board([_spec("torch")], Board(TRACKER), named=False)


def test_several_boards_under_a_key_are_refused(
    boards: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "check", lambda host, port, key: [{}, {}])
    with pytest.raises(InputError, match="2 boards have the key 'nano'"):
        selection.on_board([_spec("tvm")], Board(TRACKER), named=False)


def test_what_lacks_a_gpu_is_refused_only_where_all_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "lacks", lambda name: f"{name} lacks a GPU")
    both = [_spec("tensorrt"), _spec("onnxruntime:cuda")]
    with pytest.raises(MissingError, match=r"^tensorrt lacks a GPU$"):
        selection.check_gpu(both)
    selection.check_gpu([*both, _spec("onnxruntime")])
    monkeypatch.setattr(Engine, "lacks", lambda name: None if name == "tensorrt" else "no")
    selection.check_gpu(both)
