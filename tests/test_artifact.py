from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys

import tvmkd
from tvmkd import artifact, targets
from tvmkd.base import folders
from tvmkd.base.errors import InputError
from tvmkd.byoc import region

PAIR = [{"name": name, "shape": [1, 4], "dtype": "float32"} for name in ("x", "y")]


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "name": "toy",
        "target": targets.load("host").to_dict(),
        "stack": "relax",
        "stack_version": "0.27.0",
        "onnx_sha256": "0" * 64,
        "inputs": PAIR,
        "outputs": [{**spec, "name": f"out_{spec['name']}"} for spec in PAIR],
        **changes,
    }


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.library(tmp_path_factory.mktemp("library") / "model.so")


@pytest.fixture
def made(tmp_path: Path, library: Path) -> Path:
    folder = tmp_path / "toy"
    artifact.write(folder, {"model.so": library}, **fields())
    return folder


def test_manifest_round_trip(made: Path) -> None:
    manifest = artifact.read(made)
    assert manifest.name == "toy"
    assert manifest.tvmkd_version == tvmkd.__version__
    assert manifest.files["model.so"].size == (made / "model.so").stat().st_size
    assert sorted(path.name for path in made.iterdir()) == ["manifest.json", "model.so"]
    assert [path.name for path in made.parent.iterdir()] == ["toy"], "nothing is left beside it"


def test_an_older_artifact_is_replaced_whole(made: Path, library: Path) -> None:
    extra = made.parent / "extra.txt"
    extra.write_text("x")
    artifact.write(made, {"model.so": library, "extra.txt": extra}, **fields(name="second"))
    assert artifact.read(made).name == "second"
    artifact.write(made, {"model.so": library}, **fields(name="third"))
    assert not (made / "extra.txt").exists()


def test_a_folder_that_is_no_artifact_is_not_overwritten(tmp_path: Path, library: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("x")
    with pytest.raises(InputError, match=r"is not an artifact.*not overwritten"):
        artifact.write(folder, {"model.so": library}, **fields())
    assert (folder / "chapter1.tex").read_text() == "x"


def test_a_file_in_the_way_is_not_overwritten(tmp_path: Path, library: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is not an artifact"):
        artifact.write(tmp_path / "out", {"model.so": library}, **fields())
    assert (tmp_path / "out").read_text() == "mine"


def test_a_failed_write_keeps_the_older_artifact(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/toy: cannot be written: .*gone\.so"):
        artifact.write(made, {"model.so": tmp_path / "gone.so"}, **fields(name="second"))
    assert artifact.read(made).name == "toy"
    assert [path.name for path in made.parent.iterdir()] == ["toy"]


def test_where_the_last_rename_fails_the_older_artifact_is_put_back(
    made: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(folders, "_exchanged", lambda *_: False)
    with pytest.raises(InputError, match=r"/toy: cannot be written: .*Input/output error"):
        artifact.write(made, {"model.so": library}, **fields(name="second"))
    assert artifact.read(made).name == "toy"
    assert [path.name for path in made.parent.iterdir()] == ["toy"]


def test_a_full_disk_is_one_line_and_keeps_the_older_artifact(
    made: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"/toy: the disk is full"):
        artifact.write(made, {"model.so": library}, **fields(name="second"))
    assert artifact.read(made).name == "toy"
    assert [path.name for path in made.parent.iterdir()] == ["toy"]


def test_permissions_follow_the_umask(tmp_path: Path, library: Path) -> None:
    umask = os.umask(0o027)
    try:
        artifact.write(tmp_path / "out", {"model.so": library}, **fields())
    finally:
        os.umask(umask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), r"not an artifact"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest is corrupt"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), r"manifest is corrupt"),
        (lambda folder: edit(folder, schema_version=99), r"has schema 99 .* reads schema 1"),
        (lambda folder: edit(folder, inputs=3), r"corrupt \(inputs:"),
        (lambda folder: edit(folder, files={}), r"corrupt \(files:"),
        (lambda folder: (folder / "model.so").unlink(), r"model.so: is missing"),
        (lambda folder: flip(folder / "model.so"), r"model.so: does not have the SHA-256"),
        (lambda folder: cut(folder / "model.so"), r"model.so: has \d+ bytes, and \d+ in"),
    ],
)
def test_damage_is_one_clear_line(made: Path, damage: Any, message: str) -> None:
    damage(made)
    with pytest.raises(InputError, match=message) as caught:
        tvmkd.load(made)
    assert "\n" not in str(caught.value)


def test_a_manifest_cannot_point_outside_its_folder(made: Path) -> None:
    entry = json.loads((made / "manifest.json").read_text())["files"]["model.so"]
    edit(made, files={"model.so": entry, "../../etc/passwd": entry})
    with pytest.raises(InputError, match="corrupt"):
        artifact.read(made)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_load_runs_the_model(made: Path) -> None:
    model = tvmkd.load(made)
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    y = np.full((1, 4), 3, np.float32)
    total, product = model(x, y)
    np.testing.assert_allclose(total, x + y)
    np.testing.assert_allclose(product, x * y)
    by_name = model(y=y, x=x)
    np.testing.assert_allclose(by_name[0], x + y)
    # A view with other strides works as a new array does.
    strided = np.asfortranarray(np.tile(x, (4, 1)))[1:2]
    np.testing.assert_allclose(model.run([strided, y])[0], strided + y)


def test_wrong_inputs_are_named(made: Path) -> None:
    model = tvmkd.load(made)
    good = np.zeros((1, 4), np.float32)
    with pytest.raises(InputError, match=r'input "y": expects shape 1 x 4, got 4 x 1'):
        model(good, good.T)
    with pytest.raises(InputError, match=r'input "x": expects dtype float32, got float64'):
        model(good.astype(np.float64), good)
    with pytest.raises(InputError, match=r"has 2 inputs \(x, y\), got 1"):
        model(good)
    with pytest.raises(InputError, match=r'no input "z" \(inputs: x, y\)'):
        model(x=good, z=good)
    with pytest.raises(InputError, match=r"these inputs are missing: y"):
        model(x=good)
    with pytest.raises(InputError, match=r"in order or by name, not both"):
        model(good, y=good)
    tensor = SimpleNamespace(shape=(1, 8), dtype="torch.float32")
    with pytest.raises(InputError, match=r"expects a numpy array, got SimpleNamespace"):
        model(tensor, good)
    with pytest.raises(InputError, match=r"expects a numpy array, got list"):
        model([[0.0] * 4], good)


def test_a_free_dimension_must_be_the_same_in_all_inputs(tmp_path: Path, library: Path) -> None:
    free = [{**spec, "shape": ["batch", 4]} for spec in PAIR]
    artifact.write(tmp_path / "free", {"model.so": library}, **fields(inputs=free))
    model = tvmkd.load(tmp_path / "free")
    with pytest.raises(InputError, match=r'input "y": expects shape batch x 4, got 2 x 4'):
        model(np.zeros((1, 4), np.float32), np.zeros((2, 4), np.float32))


def test_an_artifact_for_another_machine_is_refused(tmp_path: Path, library: Path) -> None:
    nano = targets.load("jetson-nano").to_dict()
    if targets.Target.from_dict(nano).runs_here() is None:
        pytest.skip("this machine is an aarch64 one")
    artifact.write(tmp_path / "nano", {"model.so": library}, **fields(target=nano))
    with pytest.raises(InputError, match=r"built for aarch64 and this machine is x86_64"):
        tvmkd.load(tmp_path / "nano")


def test_missing_cpu_features_are_named(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if targets.load("host").architecture != "x86_64":
        pytest.skip("only known for x86-64 levels")
    monkeypatch.setattr(targets.machine, "cpu_features", lambda: frozenset({"avx"}))
    with pytest.raises(InputError, match=r"CPU features that are missing here: .*avx2, .*fma"):
        tvmkd.load(made)


def test_a_file_that_is_no_library_is_bad_input(tmp_path: Path) -> None:
    fake = tmp_path / "fake.so"
    fake.write_bytes(b"not a library")
    artifact.write(tmp_path / "fake", {"model.so": fake}, **fields())
    with pytest.raises(InputError, match=r"model.so: TVM .* cannot load it") as caught:
        tvmkd.load(tmp_path / "fake")
    assert "\n" not in str(caught.value)


def test_an_output_does_not_change_with_the_next_call(made: Path) -> None:
    loaded = tvmkd.load(made)
    ones, twos = np.ones((1, 4), np.float32), np.full((1, 4), 2, np.float32)
    total, product = loaded(ones, ones)
    loaded(twos, twos)
    np.testing.assert_array_equal(total, 2 * ones)
    np.testing.assert_array_equal(product, ones)
    total[:] = 7  # the caller owns it
    np.testing.assert_array_equal(loaded(ones, ones)[0], 2 * ones)


def test_strided_inputs(made: Path) -> None:
    wide = np.arange(8, dtype=np.float32).reshape(1, 8)
    total, _ = tvmkd.load(made)(wide[:, ::2], wide[:, 1::2])
    np.testing.assert_array_equal(total, [[1, 5, 9, 13]])


def test_what_lies_there_now_is_loaded(tmp_path: Path, library: Path) -> None:
    """Rebuilt, and overwritten in place; an older handle keeps working."""
    swapped = toys.library(tmp_path / "swapped.so", swapped=True)
    ones, twos = np.ones((1, 4), np.float32), np.full((1, 4), 3, np.float32)
    out = tmp_path / "out"
    artifact.write(out, {"model.so": library}, **fields())
    first = tvmkd.load(out)
    artifact.write(out, {"model.so": swapped}, **fields(name="swapped"))
    second = tvmkd.load(out)
    artifact.write(tmp_path / "third", {"model.so": library}, **fields(name="third"))
    for name in ("manifest.json", "model.so"):
        (out / name).write_bytes((tmp_path / "third" / name).read_bytes())
    third = tvmkd.load(out)
    (out / "model.so").write_bytes(b"")
    for model, name, result in ((first, "toy", 4), (second, "swapped", 3), (third, "third", 4)):
        assert model.manifest.name == name
        assert model(ones, twos)[0][0, 0] == result


def test_a_rebuild_while_an_artifact_is_read_gives_the_new_one(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuilt = tmp_path / "rebuilt.so"
    rebuilt.write_bytes(b"rebuilt")
    real, calls = artifact.library_copy, []

    def slow(path: Path) -> tuple[Path, str]:
        if not calls:
            artifact.write(made, {"model.so": rebuilt}, **fields(name="second"))
        calls.append(path)
        return real(path)

    monkeypatch.setattr(artifact, "library_copy", slow)
    manifest, path = artifact.read_with_library(made)
    assert manifest.name == "second"
    assert path.read_bytes() == b"rebuilt"
    assert len(calls) == 2


class FakeProgram:
    """Doubles the first input. ``fits``: what ``takes`` returns."""

    def __init__(self, fits: bool = False) -> None:
        self.fits, self.ran = fits, []

    def takes(self, arrays: Any) -> bool:
        return self.fits

    def run(self, arrays: Any, fit: bool) -> list[Any]:
        self.ran.append(fit)
        return [2 * arrays[0]]


def test_one_output_is_no_tuple(made: Path) -> None:
    model = artifact.Artifact(artifact.read(made), made, FakeProgram())
    ones = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(model(ones, ones), 2 * ones)
    assert repr(model) == f"<tvmkd.Artifact toy for {targets.load('host').name}>"


def test_inputs_are_checked_where_they_are_not_known_to_fit(made: Path) -> None:
    wide = np.ones((1, 4), np.float64)
    for fits in (True, False):
        program = FakeProgram(fits)
        model = artifact.Artifact(artifact.read(made), made, program)
        if fits:
            model.run([wide, wide])
        else:
            with pytest.raises(InputError, match="expects dtype float32"):
                model.run([wide, wide])
            model.run([wide.astype("f4")] * 2)
        assert program.ran == [fits]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4,), "1 x 4, got 4$"),
        ((), "got a scalar"),
        ((1, 4, 1), "got 1 x 4 x 1"),
        ((2, 4), "2 x 4"),
    ],
)
def test_another_shape_is_named(made: Path, shape: tuple[int, ...], message: str) -> None:
    model = artifact.Artifact(artifact.read(made), made, FakeProgram())
    with pytest.raises(InputError, match=message):
        model(np.zeros((1, 4), np.float32), np.zeros(shape, np.float32))


def test_a_free_size_is_free_and_the_others_are_not(tmp_path: Path, library: Path) -> None:
    free = [{**spec, "shape": ["batch", size]} for spec, size in zip(PAIR, (4, "n"), strict=True)]
    artifact.write(tmp_path / "free", {"model.so": library}, **fields(inputs=free))
    model = artifact.Artifact(artifact.read(tmp_path / "free"), tmp_path / "free", FakeProgram())
    for batch, other in ((1, 4), (3, 4), (3, 7)):
        model(np.zeros((batch, 4), np.float32), np.zeros((batch, other), np.float32))
    with pytest.raises(InputError, match='input "x": expects shape batch x 4, got 3 x 5'):
        model(np.zeros((3, 5), np.float32), np.zeros((3, 5), np.float32))


@pytest.mark.parametrize(
    ("byoc", "asked"),
    [
        ({}, []),
        ({"engine": "tensorrt", "codegen": "tvmkd", "regions": 2}, ["tensorrt"]),
        ({"engine": "tensorrt", "codegen": "tvmkd", "regions": 0}, []),
        ({"engine": "tensorrt", "codegen": "tvm", "regions": 2}, []),
    ],
)
def test_where_an_engine_runs_regions_it_is_checked_before_loading(
    byoc: dict[str, Any],
    asked: list[str],
    tmp_path: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[str] = []
    monkeypatch.setattr(region, "check_runs_here", found.append)
    folder = tmp_path / "toy"
    artifact.write(folder, {"model.so": library}, **fields(coverage={"byoc": byoc}))
    artifact.load(folder)
    assert found == asked


def test_files_may_be_left_unverified(made: Path) -> None:
    flip(made / "model.so")
    assert artifact.read(made, verify=False).name == "toy"


def test_a_manifest_that_is_no_text_is_bad_input(made: Path) -> None:
    (made / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"manifest\.json: cannot be read: .*; build"):
        artifact.read(made)


def test_files_keep_their_mode_and_the_library_is_required(tmp_path: Path, library: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("x")
    tool.chmod(0o750)
    artifact.write(tmp_path / "out", {"model.so": library, "tool": tool}, **fields())
    assert (tmp_path / "out" / "tool").stat().st_mode & 0o777 == 0o750
    with pytest.raises(ValueError, match="needs a library"):
        artifact.write(tmp_path / "other", {"tool": tool}, **fields())


def test_where_an_artifact_may_be_written(tmp_path: Path, library: Path) -> None:
    artifact.check_destination(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    artifact.check_destination(tmp_path / "empty")
    artifact.write(tmp_path / "old", {"model.so": library}, **fields())
    (tmp_path / "old" / "manifest.json").write_text("damaged")
    artifact.check_destination(tmp_path / "old")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "other").symlink_to(tmp_path / "old")
    for link in (tmp_path / "link", tmp_path / "other"):
        with pytest.raises(InputError, match="is a symbolic link, and is not replaced"):
            artifact.check_destination(link)
        with pytest.raises(InputError, match="is a symbolic link, and is not replaced"):
            artifact.write(link, {"model.so": library}, **fields())
    refused = []
    for name in ("manifest.json", "model.so"):
        refused.append(tmp_path / f"only-{name}")
        refused[-1].mkdir()
        (refused[-1] / name).write_text("x")
    for folder in refused:
        with pytest.raises(InputError, match="is not an artifact of tvmkd"):
            artifact.check_destination(folder)
