"""Building an artifact with a fake builder: which records are used, and what the manifest says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_builder import FakeBuilder, FakeReference, model, record, task

from tvmkd import artifact, targets
from tvmkd.base import resources
from tvmkd.base.errors import InputError
from tvmkd.base.exits import Exits
from tvmkd.base.files import sha256
from tvmkd.export.check import ModelInfo
from tvmkd.stacks import build
from tvmkd.stacks.first_difference import Found
from tvmkd.stacks.messages import BuildRequest
from tvmkd.tuning import records
from tvmkd.tuning.space import candidate_key

TARGET = targets.load("host").to_dict()
NANO = targets.load("jetson-nano").to_dict()
ONE, TWO = (records.normal_key(hex(number)) for number in (1, 2))
Entry = tuple[int, int, float]


def trace(number: int) -> list[Any]:
    return [[["Split", ["l0"], [number], []]], []]


def key(number: int) -> str:
    return candidate_key(trace(number))


def folder_of(folder: Path, *entries: Entry, **info: Any) -> Path:
    """A records folder: ``(workload, trace number, seconds)`` each."""
    folder.mkdir(parents=True)
    workloads = sorted({entry[0] for entry in entries})
    (folder / records.WORKLOADS).write_text(
        "".join(json.dumps([str(number), "bW9k"]) + "\n" for number in workloads)
    )
    (folder / records.RECORDS).write_text(
        "".join(
            json.dumps([workloads.index(w), [trace(t), [s], {"kind": "llvm"}, []]]) + "\n"
            for w, t, s in entries
        )
    )
    (folder / records.TRIALS).write_text(
        "".join(
            json.dumps({"task": hex(w), "key": key(t), "wall": 1.5}) + "\n" for w, t, _ in entries
        )
    )
    sidecar = {"schema_version": 1, "stack": "fake", "target": TARGET, "stack_version": "1.0"}
    (folder / records.SIDECAR).write_text(json.dumps({**sidecar, **info}))
    return folder


class Bench:
    """Calls `build.build` with a fake reference; notes what that was made with."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = tmp_path / "out"
        self.model = model(tmp_path / "net.onnx")
        self.builder = FakeBuilder(task(ONE), task(TWO, kind="dense"))
        self.reference = FakeReference()
        self.asked: list[Any] = []
        self.events: list[tuple[str, Any]] = []
        monkeypatch.setattr(build, "Reference", self._made)

    def _made(self, *given: Any, **options: Any) -> FakeReference:
        self.asked.append((given, options))
        return self.reference

    def build(self, *folders: Path, target: Any = TARGET, **options: Any) -> dict[str, Any]:
        settings = {"real_inputs": None, "check": True, "board": None, **options}
        return build.build(
            self.builder,
            self.model,
            target,
            list(folders),
            self.out,
            emit=lambda *event: self.events.append(event),
            **settings,
        )

    def used(self) -> list[str]:
        """The records of the last build."""
        return self.builder.builds[-1][1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_the_best_record_of_each_task_is_used_and_counted_for_its_folder(
    bench: Bench, tmp_path: Path
) -> None:
    a = folder_of(tmp_path / "a", (1, 1, 3e-3), (1, 2, 2e-3), (2, 3, 1e-3))
    b = folder_of(tmp_path / "b", (1, 4, 1e-3), (7, 5, 1e-9))
    manifest = bench.build(a, b)
    assert bench.used() == [key(4), key(3)]
    assert bench.builder.early == [([key(4), key(3)], True)]
    assert [entry["used"] for entry in manifest["records"]] == [1, 1]
    assert [entry["path"] for entry in manifest["records"]] == [str(a), str(b)]
    assert [entry["trial_seconds"] for entry in manifest["records"]] == [4.5, 3.0]
    assert manifest["records"][0]["sha256"] == sha256(a / records.RECORDS)
    assert not {"emulated", "icount"} & set(manifest["records"][0])


def test_a_normalised_file_is_kept_beside_the_library(bench: Bench, tmp_path: Path) -> None:
    assert bench.build()["normalised"] == {}
    made = tmp_path / "made.onnx"
    made.write_text("normalised")
    bench.model.info = dataclasses.replace(
        bench.model.info, normalised=made, steps=("folded",), left_out={"raised": "no"}
    )
    manifest = bench.build()
    assert manifest["normalised"] == {"steps": ["folded"], "left_out": {"raised": "no"}}
    assert (bench.out / "normalised.onnx").read_text() == "normalised"
    assert "normalised.onnx" in manifest["files"]


def test_ones_own_slower_record_comes_before_a_shipped_faster_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = folder_of(tmp_path / "own", (1, 1, 5e-3), (1, 2, 4e-3))
    shipped = folder_of(tmp_path / "schedules" / "fake", (1, 3, 1e-3), (2, 4, 2e-3), (2, 5, 1e-3))
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    for folders in ([own, shipped], [shipped, own]):
        bench.build(*folders)
        assert bench.used() == [key(2), key(5)]


def test_own_records_first_each_group_best_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    mine, ships = tmp_path / "mine", tmp_path / "schedules" / "x"
    found = [
        record("a", "1", 1.0, ships),
        record("a", "2", 2.0, mine),
        record("a", "3", 3.0, ships),
        record("a", "4", 4.0, mine),
    ]
    assert [each.key for each in build.own_first(found)] == ["2", "4", "1", "3"]


def test_records_that_do_not_fit_are_left_out(bench: Bench, tmp_path: Path) -> None:
    bench.builder = FakeBuilder(task(ONE), task(TWO), misfits=(key(1), key(3)))
    folder = folder_of(tmp_path / "a", (1, 1, 1e-3), (1, 2, 2e-3), (2, 3, 1e-3))
    manifest = bench.build(folder)
    assert bench.used() == [key(2)]
    assert manifest["coverage"]["tuned"] == 1
    assert manifest["records"][0]["used"] == 1


def test_a_wrong_record_is_out_of_the_library_the_count_and_the_coverage(
    bench: Bench, tmp_path: Path
) -> None:
    mine = folder_of(tmp_path / "a", (1, 1, 2e-3))
    other = folder_of(tmp_path / "b", (1, 2, 1e-3))
    bench.reference = FakeReference((ONE, key(2)))
    manifest = bench.build(mine, other)
    assert bench.used() == [key(1)]
    assert [entry["used"] for entry in manifest["records"]] == [1, 0]
    (aside,) = manifest["coverage"]["set_aside"]
    assert (aside["key"], aside["folder"]) == (key(2), str(other))
    assert manifest["coverage"]["kernels"] == {
        ONE: {"key": ONE, "tuned": True},
        TWO: {"key": TWO, "tuned": False},
    }
    assert [name for name, _ in bench.events if name == "set_aside"] == ["set_aside"]


def test_the_manifest_of_a_checked_build(bench: Bench, tmp_path: Path) -> None:
    bench.builder.byoc = {"engine": "e"}
    manifest = bench.build()
    assert (manifest["name"], manifest["stack"], manifest["stack_version"]) == (
        "net",
        "fake",
        "1.0",
    )
    assert manifest["onnx_sha256"] == "ab" * 32
    assert manifest["target"] == TARGET
    assert [each["name"] for each in manifest["inputs"]] == ["x"]
    assert [each["name"] for each in manifest["outputs"]] == ["y"]
    assert manifest["metadata"] == {"author": "a test"}
    assert manifest["check"] == {
        "against": "onnxruntime fp32",
        "samples": 3,
        "real_samples": 0,
        "max_error": 1e-6,
        "tolerance": 1e-3,
        "outputs": [{"name": "y", "max_error": 1e-6, "allowed": 1e-4}],
    }
    assert manifest["coverage"]["byoc"] == {"engine": "e"}
    seconds = manifest["coverage"]["build_seconds"]
    assert 0 <= seconds == round(seconds, 3) < 60
    assert manifest["records"] == []
    assert artifact.read(bench.out).model_dump(mode="json") == manifest
    ((given, options),) = bench.asked
    assert given == ("fake", tmp_path / "net.onnx", bench.model.inputs, [])
    rest = {"board": None, "target": TARGET, "tighten": False, "runtime": "tvm"}
    assert options == {**rest, "least": 0.0}


@pytest.mark.parametrize(("precision", "least"), [("tf32", 2e-2), ("fp16", 2e-2), ("int8", 5e-2)])
def test_regions_in_less_than_fp32_are_allowed_more(
    precision: str, least: float, bench: Bench
) -> None:
    bench.builder.byoc = {"engine": "e", "precision": precision}
    bench.build()
    ((_, options),) = bench.asked
    assert options["least"] == least


def test_each_stage_is_reported(bench: Bench) -> None:
    bench.build()
    bench.build(check=False)
    assert bench.events == [
        ("stage", {"text": text})
        for text in (
            "running ONNX Runtime",
            "compiling 2 kernels",
            "comparing with ONNX Runtime",
            "writing the artifact",
            "compiling",
            "writing the artifact",
        )
    ]


def test_a_wrong_importer_is_reported_with_the_model(bench: Bench, tmp_path: Path) -> None:
    bench.reference = FakeReference(always=True)
    with pytest.raises(InputError) as caught:
        bench.build()
    assert str(caught.value) == (
        f"{tmp_path / 'net.onnx'}: outputs differ: []; "
        "try --stack relax or --stack relay or another operator"
    )
    assert not bench.out.exists()


def test_a_wrong_importer_is_reported_with_the_operator(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts are compiled without records and judged where the whole model was."""
    bench.reference = FakeReference(always=True)
    judged: list[tuple[Path, Any, Any]] = []
    part = FakeBuilder()

    def of(path: Path, inputs: Any, samples: Any) -> FakeReference:
        judged.append((path, inputs, samples))
        return FakeReference()

    def find(
        path: Path, output: str, sample: Any, attempt: Any, emit: Any, reason: str, user_file: Path
    ) -> Found:
        assert path == user_file == tmp_path / "net.onnx"
        assert (output, sample, reason) == ("y", 1, "outputs differ: []")
        assert attempt(tmp_path / "part.onnx", [{}]).agrees
        return Found("Resize", "up", "differs by 1", True)

    bench.reference.of = of  # type: ignore[attr-defined]
    monkeypatch.setattr(build.first_difference, "find", find)
    with pytest.raises(InputError, match=r"net\.onnx: Resize \(node 'up'\).* differs by 1; try"):
        bench.build(again=lambda _: (bench.model, part))
    assert judged == [(tmp_path / "part.onnx", bench.model.inputs, [{}])]
    assert part.builds == [("part.so", [], True)]


def test_real_inputs_are_passed_to_the_reference(bench: Bench, tmp_path: Path) -> None:
    np.savez(tmp_path / "real.npz", x=np.ones((4, 3), np.float32))
    manifest = bench.build(real_inputs=tmp_path / "real.npz")
    ((_, _, _, real), _) = bench.asked[0]
    assert len(real) == manifest["check"]["real_samples"] == 2


BOARD = {"host": "127.0.0.1", "port": 9190, "key": "nano"}


@pytest.mark.parametrize(
    ("target", "check", "board", "asked", "skipped"),
    [
        (TARGET, True, None, None, None),
        (TARGET, True, BOARD, None, None),  # it runs here: no board is needed
        (NANO, True, BOARD, BOARD, None),
        (NANO, True, None, None, "aarch64"),
        (TARGET, False, None, None, "not asked for"),
        (NANO, False, BOARD, None, "aarch64"),
    ],
)
def test_where_a_build_is_checked(
    target: Any, check: bool, board: Any, asked: Any, skipped: str | None, bench: Bench
) -> None:
    manifest = bench.build(target=target, check=check, board=board)
    if skipped is None:
        ((_, options),) = bench.asked
        rest = {"board": asked, "target": target, "tighten": True, "runtime": "tvm"}
        assert options == {**rest, "least": 0.0}
        assert "skipped" not in manifest["check"]
    else:
        assert bench.asked == []
        assert skipped in manifest["check"]["skipped"]
        assert bench.builder.builds == [("model.so", [], True)]


def test_what_a_board_says_of_itself_is_in_the_manifest(bench: Bench) -> None:
    bench.reference.on = {"board": "nano"}
    manifest = bench.build(target=NANO, board=BOARD)
    assert manifest["check"]["on"] == {"board": "nano"}


def test_records_of_another_stack_or_target_are_refused_before_anything_is_built(
    bench: Bench, tmp_path: Path
) -> None:
    mine = folder_of(tmp_path / "a", (1, 1, 1e-3))
    with pytest.raises(InputError, match="stack 'relay', not 'fake'"):
        bench.build(mine, folder_of(tmp_path / "b", (1, 1, 1e-3), stack="relay"))
    with pytest.raises(InputError, match="records for the target 'jetson-nano'"):
        bench.build(mine, folder_of(tmp_path / "c", (1, 1, 1e-3), target=NANO))
    assert bench.builder.builds == []
    assert not bench.out.exists()


def test_records_for_another_number_of_cores_are_used(bench: Bench, tmp_path: Path) -> None:
    other = {**TARGET, "tvm": {**TARGET["tvm"], "num-cores": 64}}
    bench.build(folder_of(tmp_path / "a", (1, 1, 1e-3), target=other))
    assert bench.used() == [key(1)]


@pytest.mark.parametrize(("board", "judges"), [(BOARD, "other"), (None, "own")])
def test_a_boards_server_gets_libraries_that_it_can_run(
    board: Any, judges: str, bench: Bench, tmp_path: Path
) -> None:
    bench.builder.runtime = "standalone"
    bench.builder.plain = FakeBuilder(*bench.builder.tasks.values())
    bench.reference = FakeReference((ONE, key(1)))
    folder = folder_of(tmp_path / "a", (1, 1, 1e-3), (1, 2, 2e-3))
    target = TARGET if board is None else NANO
    manifest = bench.build(folder, target=target, board=board, trusted=True)
    assert manifest["runtime"] == "standalone"
    assert bench.used() == [key(2)], "the wrong record was found, and the library is made anew"
    assert bench.builder.builds[-1][0] == "model.so"
    assert len(bench.builder.plain.builds) == (0 if judges == "own" else 4)
    assert bench.asked[0][1]["runtime"] == ("standalone" if judges == "own" else "tvm")


@pytest.mark.parametrize(("version", "notes"), [("1.0", 0), ("0.9", 1), ("", 0)])
def test_records_of_another_version_are_used_with_a_note(
    version: str, notes: int, bench: Bench, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "a", (1, 1, 1e-3), stack_version=version)
    bench.build(folder)
    assert bench.used() == [key(1)]
    said = [data["text"] for name, data in bench.events if name == "note"]
    assert len(said) == notes
    assert all(f"{folder}: made with TVM 0.9, this is 1.0" in text for text in said)


def test_a_folder_without_a_sidecar_is_used(bench: Bench, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", (1, 1, 1e-3))
    (folder / records.SIDECAR).unlink()
    assert bench.build(folder)["coverage"]["tuned"] == 1


EMULATED, COUNTED = {"measured_on": "emulated"}, {"evaluator": "icount"}
REAL = {"measured_on": "real", "evaluator": "time"}


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        (REAL, EMULATED, "emulated"),
        (REAL, COUNTED, "icount"),
        (EMULATED, {**EMULATED, **COUNTED}, "emulated and icount"),
    ],
)
def test_figures_of_different_kinds_are_not_ranked_together(
    one: Any, other: Any, named: str, bench: Bench, tmp_path: Path
) -> None:
    folders = [
        folder_of(tmp_path / str(number), (1, 1, 1e-3), **info)
        for number, info in enumerate((one, other))
    ]
    with pytest.raises(InputError, match=f"cannot be ranked together .*{named}"):
        bench.build(*folders)
    assert not bench.out.exists()


@pytest.mark.parametrize("info", [REAL, EMULATED, COUNTED, {**EMULATED, **COUNTED}])
def test_figures_of_one_kind_are_ranked_and_marked(info: Any, bench: Bench, tmp_path: Path) -> None:
    folders = [folder_of(tmp_path / name, (1, 1, 1e-3), **info) for name in "ab"]
    entry = bench.build(*folders)["records"][1]
    assert entry.get("emulated", False) is (info.get("measured_on") == "emulated")
    assert entry.get("icount", False) is (info.get("evaluator") == "icount")


def test_shipped_scores_stand_behind_ones_own_times_and_are_no_measurement(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build.resources, "folder", lambda name: tmp_path / name)
    scored = folder_of(
        tmp_path / "schedules" / "fake", (1, 3, 1e-3), (2, 4, 1e-3), evaluator="score"
    )
    for own in (REAL, EMULATED):
        mine = folder_of(tmp_path / f"own-{own['measured_on']}", (1, 1, 2e-3), **own)
        manifest = bench.build(mine, scored)
        assert bench.used() == [key(1), key(4)]
        assert [entry.get("scored", False) for entry in manifest["records"]] == [False, True]
        facts = manifest["coverage"]["kernels"]
        assert "measured_us" not in facts[ONE], "the builder's own facts are left alone"
        assert facts[TWO]["measured_us"] is None


def test_a_folder_that_is_no_artifact_is_not_replaced(bench: Bench) -> None:
    bench.out.mkdir()
    (bench.out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not an artifact"):
        bench.build()
    assert bench.builder.builds == []


def test_the_parameters_of_a_request(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def fake(*args: Any, **options: Any) -> dict[str, Any]:
        given.append((args, options))
        return {"made": 1}

    def emit(name: str, data: Any) -> None: ...

    monkeypatch.setattr(build, "build", fake)
    request = BuildRequest(Path("m.onnx"), TARGET, [Path("a"), Path("b")], Path("o"))
    assert build.build_as_asked(bench.builder, bench.model, request, emit) == {"made": 1}
    info = ModelInfo(Path("m.onnx"), (), (), "ab", 18, {}, {})
    more: dict[str, Any] = {"real_inputs": Path("r.npz"), "check": False, "board": BOARD}
    more["exits"] = Exits((0.5,))
    request = dataclasses.replace(request, model=info, checked=True, **more)
    build.build_as_asked(bench.builder, bench.model, request, emit)
    first, second = given
    assert first[0] == (bench.builder, bench.model, TARGET, [Path("a"), Path("b")], Path("o"))
    plain = {"real_inputs": None, "check": True, "board": None, "trusted": False, "again": None}
    plain["exits"] = None
    plain["frames"] = None
    assert first[1] == {**plain, "emit": emit}
    assert second[1] == {**plain, **more, "trusted": True, "emit": emit}


@pytest.mark.parametrize(("trusted", "checks"), [(True, []), (False, ["out", "a", "b"])])
def test_what_the_caller_has_checked_is_not_checked_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, checks: list[str]
) -> None:
    folders = [folder_of(tmp_path / name, (1, 1, 1e-3)) for name in ("a", "b")]
    done: list[str] = []

    def note(folder: Path, *_: Any, **__: Any) -> None:
        done.append(folder.name)

    monkeypatch.setattr(build, "check_made_for", note)
    monkeypatch.setattr(artifact, "check_destination", note)
    bench.build(*folders, trusted=trusted)
    # Nothing may be overwritten that came in the meantime: the last check is when it is written.
    assert done == [*checks, "out"]
