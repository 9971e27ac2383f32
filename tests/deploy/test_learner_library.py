"""The learner in C does what the one in numpy does."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from pathlib import Path

import learner_heads
import numpy as np
import pytest
import sample_library
import sanitized
from learner_heads import FEATURES, MODEL, clusters, lesson, taught
from learner_in_c import COUNTS, FLOATS, CLearner, Refused

from tvmkd import targets
from tvmkd.base.toolchain import host_compiler
from tvmkd.boards import emulate
from tvmkd.deploy import learner_library
from tvmkd.deploy.board_learner.head_file import HEADER, read_head
from tvmkd.deploy.board_learner.learner import Learner
from tvmkd.deploy.board_learner.verdict import reason_against

PROGRAM = Path(__file__).with_name("learner_program.c")
NAMES = (
    *("classes", "features", "max_classes", "pending", "held_back", "replay", "added", "updates"),
    *("rejected", "rollbacks"),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By this machine's own compiler, which is quicker than zig."""
    out = tmp_path_factory.mktemp("learner") / learner_library.SHARED
    sources = [learner_library.NATIVE / f"{name}.c" for name in learner_library.SOURCES]
    command = [*host_compiler(), "-std=c11", "-O2", "-ffp-contract=off", "-shared", "-fPIC"]
    command += ["-Wall", "-Wextra", "-Werror", "-o", os.fspath(out)]
    subprocess.run([*command, *map(os.fspath, sources), "-lm"], check=True)
    return out


def test_every_source_is_compiled() -> None:
    assert set(learner_library.SOURCES) == {
        path.stem for path in learner_library.NATIVE.glob("*.c")
    }


@pytest.fixture
def path(tmp_path: Path) -> str:
    return learner_heads.written(tmp_path)


def same(ours: Learner, theirs: CLearner) -> None:
    """Both are in the same state."""
    rows = clusters(np.arange(50) % 4, 30)
    logits = ours.predict(rows)
    np.testing.assert_allclose(theirs.predict(rows), logits, rtol=1e-5, atol=1e-5)
    assert (ours.phase, ours.reason) == (theirs.phase, theirs.reason)
    found, status, info = dict(ours.report), ours.status(), theirs.info
    for name in ("guard_shipped", "guard_after", *COUNTS[COUNTS.index("fresh_before") :]):
        assert found.get(name, getattr(info, name)) == getattr(info, name), name
    status["features"] = ours.features
    assert [status[name] for name in NAMES] == [getattr(info, name) for name in NAMES]


@pytest.mark.parametrize("seed", [7, 8])
def test_three_updates_from_the_same_seed(library: Path, tmp_path: Path, seed: int) -> None:
    path = learner_heads.written(tmp_path, seed=seed)
    states = [str(tmp_path / name) for name in ("python", "c")]
    ours, theirs = Learner(path, states[0]), CLearner(library, path, states[1])
    for number, kind in enumerate(("new", "poison", "moved")):
        assert taught(ours, kind, 40 + number) == taught(theirs, kind, 40 + number)
        same(ours, theirs)
        found = [read_head(state) for state in states]
        for one, other in zip(*(each.parts() for each in found), strict=True):
            if one.dtype == np.float32:
                np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
            else:
                np.testing.assert_array_equal(other, one)
        assert found[0].random == found[1].random
    for each in (ours, theirs):
        each.rollback()
    same(ours, theirs)
    assert Path(states[0]).read_bytes() == Path(states[1]).read_bytes()
    theirs.close()


def test_what_was_withdrawn_stays_away_if_nothing_can_be_written(
    library: Path, path: str, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    learner = CLearner(library, path, str(state))
    assert taught(learner, "new") == "accepted"
    (tmp_path / ".state.tmp").mkdir()
    learner.rollback()
    assert not state.exists()
    learner.rollback()
    state.mkdir()
    with pytest.raises(Refused, match="can be neither written nor removed"):
        learner.rollback()
    learner.close()


def test_each_reads_the_others_state(library: Path, path: str, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    first = CLearner(library, path, state)
    assert taught(first, "new") == "accepted"
    ours = Learner(path, state)
    assert ours.classes == 6
    same_rows = clusters(np.arange(9) % 4, 3)
    np.testing.assert_allclose(ours.predict(same_rows), first.predict(same_rows), atol=1e-5)
    assert taught(ours, "moved", 50) == "accepted"
    second = CLearner(library, path, state)
    np.testing.assert_allclose(second.predict(same_rows), ours.predict(same_rows), atol=1e-5)


def test_no_replay_and_a_batch_of_one(library: Path, tmp_path: Path) -> None:
    path = learner_heads.written(tmp_path, replay=0)
    options = {"batch": 1, "steps": 50, "max_forgetting": 1.0, "rate": 0.1}
    ours, theirs = Learner(path, **options), CLearner(library, path, **options)
    assert taught(ours, "new") == taught(theirs, "new")
    same(ours, theirs)


def test_many_classes_with_one_example_each(library: Path, tmp_path: Path) -> None:
    path = learner_heads.many_classes(tmp_path)
    ours, theirs = Learner(path), CLearner(library, path)
    for number in range(54):
        for each in (ours, theirs):
            each.add(np.ones(FEATURES, np.float32), (number + 20) % 62)
        assert theirs.info.held_back == ours.held_count


class Counts(ctypes.Structure):
    """``tvmkd_learn_counts``."""

    _fields_ = [(name, ctypes.c_int32) for name in (
        "guard", "guard_shipped", "guard_after", "fresh", "fresh_before", "fresh_after", "new",
        "new_before", "new_after", "old_won", "old_lost", "new_won", "new_lost", "sure",
        "contradicted")]  # fmt: skip


def test_the_verdict_is_numpys(library: Path) -> None:
    c, rng, kinds = ctypes.CDLL(str(library)), np.random.default_rng(0), set()
    c.tvmkd_learn_verdict.argtypes = [
        *(ctypes.POINTER(Counts), ctypes.c_double, ctypes.c_double),
        *(ctypes.c_char_p, ctypes.c_size_t),
    ]
    for _ in range(1500):
        won, lost, gained, missed = (int(each) for each in rng.integers(0, 8, 4))
        sure = int(rng.integers(0, 30))
        found = {"guard": 150, "guard_shipped": 148, "guard_after": 148 + won - lost, "fresh": 20,
                 "fresh_before": 15, "fresh_after": int(rng.integers(13, 20)), "new": 16,
                 "new_before": missed, "new_after": gained, "old_won": won, "old_lost": lost,
                 "new_won": gained, "new_lost": missed, "sure": sure,
                 "contradicted": int(sure * rng.random() * 0.8)}  # fmt: skip
        limits = float(rng.choice([0.04, 0.04, 1])), float(rng.choice([0, 0.3, 0.5, 1]))
        said = ctypes.create_string_buffer(200)
        c.tvmkd_learn_verdict(ctypes.byref(Counts(**found)), *limits, said, 200)
        assert said.value.decode() == reason_against(found, *limits), found
        kinds.add(said.value.decode().partition(":")[0])
    assert kinds == {"", "labels", "forgets", "no gain", "costs more than it gains"}


def test_half_precision_is_numpys(library: Path) -> None:
    c = ctypes.CDLL(str(library))
    c.tvmkd_half_to_float.restype = ctypes.c_float
    every = np.arange(1 << 16, dtype=np.uint16)
    wide = np.array([c.tvmkd_half_to_float(each) for each in every.tolist()], np.float32)
    np.testing.assert_array_equal(wide, every.view(np.float16).astype(np.float32))
    c.tvmkd_float_to_half.argtypes, c.tvmkd_float_to_half.restype = (
        [ctypes.c_float],
        ctypes.c_uint16,
    )
    rng, good = np.random.default_rng(0), wide[np.isfinite(wide)]
    some = [rng.normal(0, 10.0**power, 500) for power in range(-9, 6)]
    ties = (good[:-1].astype(np.float64) + good[1:]) / 2
    values = np.concatenate([*some, ties[::7], [65519, 65520, -65520, 0.0, -0.0, np.inf]])
    values = values.astype(np.float32)
    found = np.array([c.tvmkd_float_to_half(each) for each in values.tolist()], np.uint16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, values.astype(np.float16).view(np.uint16))


def test_sha256(library: Path) -> None:
    c = ctypes.CDLL(str(library))
    for length in (0, 1, 55, 56, 63, 64, 65, 119, 120, 1000):
        data, found = os.urandom(length), ctypes.create_string_buffer(32)
        c.tvmkd_sha256(data, ctypes.c_size_t(length), found)
        assert found.raw == hashlib.sha256(data).digest(), length


def test_classes_that_are_not_there_yet(library: Path, path: str) -> None:
    learner = CLearner(library, path)
    row, logits = clusters(np.array([1]), 0), np.zeros(6, np.float32)
    learner.c.tvmkd_learn_predict(
        learner.handle, row.ctypes.data_as(FLOATS), logits.ctypes.data_as(FLOATS)
    )
    assert np.isneginf(logits).tolist() == [False] * 4 + [True] * 2


def test_what_it_refuses(library: Path, path: str, tmp_path: Path) -> None:
    for options, said in (
        ({"batch": 0}, "batch has to be from 1 to 4096"),
        ({"rate": float("nan")}, "rate has to be"),
        ({"size": 8}, "size is not that of"),
        ({"model": b"00"}, "belongs to another library"),
    ):
        with pytest.raises(Refused, match=said):
            CLearner(library, path, **options)
    CLearner(library, path, model=MODEL.hex().encode()).close()
    with pytest.raises(Refused, match="none: cannot be read: No such file"):
        CLearner(library, str(tmp_path / "none"))
    learner = CLearner(library, path, pending=8)
    good = np.ones(FEATURES, np.float32)
    for row, label, said in (
        (good * np.nan, 0, "not finite"),
        (good * 1e5, 0, "beyond half precision"),
        (good, 6, "label 6: there may be 6 classes at most"),
        (good, -1, "label -1"),
    ):
        with pytest.raises(Refused, match=said):
            learner.add(row, label)
    with pytest.raises(Refused, match="too few new examples: 0 are held back of 0"):
        learner.begin()
    for _ in range(8):
        learner.add(good, 5)
    with pytest.raises(Refused, match="8 examples wait"):
        learner.add(good, 5)
    with pytest.raises(Refused, match=r"class 4 has no example, .* wait were dropped"):
        learner.begin()
    learner.add(good, 4)


def test_damaged_files(library: Path, path: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    taught(CLearner(library, path, str(state)), "new")
    data = bytearray(state.read_bytes())
    for place in range(3, len(data), len(data) // 40):
        data[place] ^= 1
        state.write_bytes(data)
        found = CLearner(library, path, str(state))
        assert found.refused.endswith("the shipped head is used"), place
        assert found.classes == 4
        found.close()
        with pytest.raises(Refused, match=r"is damaged|is no head"):
            CLearner(library, str(state))
        data[place] ^= 1
    other = bytes(data[: HEADER.size - 32]) + bytes(32) + bytes(data[HEADER.size : -32])
    state.write_bytes(other + hashlib.sha256(other).digest())
    assert "another shipped head" in CLearner(library, path, str(state)).refused


def test_a_state_that_cannot_be_written(library: Path, path: str, tmp_path: Path) -> None:
    learner = CLearner(library, path, str(tmp_path / "none/state"))
    assert taught(learner, "new") == "accepted"
    with pytest.raises(Refused, match="none/state: cannot be written: No such file"):
        learner.save()


def program(out: Path, target: str | None) -> Path:
    """`PROGRAM`, with sanitizers for this machine or for a target."""
    if target is None:
        sources = [learner_library.NATIVE / f"{name}.c" for name in learner_library.SOURCES]
        return sanitized.build(out, [PROGRAM, *sources], "-I", os.fspath(learner_library.NATIVE))
    from tvmkd.base.toolchain import zig

    made = targets.load(target)
    triple = f"{made.toolchain.triple}.{made.toolchain.glibc}"
    archive = learner_library.compiled(made) / learner_library.ARCHIVE
    command = [*zig(), "cc", "-target", triple, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    command += ["-I", os.fspath(learner_library.NATIVE), os.fspath(PROGRAM), os.fspath(archive)]
    subprocess.run([*command, "-lm", "-lpthread", "-o", os.fspath(out)], check=True)
    return out


def told(command: list[str | Path], path: str, kind: str) -> tuple[list[str], np.ndarray]:
    """What `PROGRAM` prints about an update: words, and the logits of some rows."""
    rows, labels = lesson(kind)
    asked = clusters(np.arange(8) % 4, 30)
    lines = [f"{len(rows)} {len(asked)}"]
    lines += [" ".join([str(label), *map(repr, row.tolist())])
              for row, label in zip(rows, labels, strict=True)]  # fmt: skip
    lines += [" ".join(map(repr, row.tolist())) for row in asked]
    done = subprocess.run(
        [*command, path], input="\n".join(lines), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    said, *found = done.stdout.splitlines()
    return said.split(), np.array([line.split() for line in found], np.float32)


def checked(command: list[str | Path], path: str) -> None:
    ours = Learner(path)
    taught(ours, "new")
    said, logits = told(command, path, "new")
    assert said[:2] == ["accepted", str(ours.report["new_after"])]
    expected = ours.predict(clusters(np.arange(8) % 4, 30))
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_predicting_beside_learning_with_sanitizers(path: str, tmp_path: Path) -> None:
    """Three threads predict meanwhile; no prediction is of half an old head."""
    checked([program(tmp_path / "program", None)], path)


@pytest.mark.board
def test_under_qemu(path: str, tmp_path: Path) -> None:
    if emulate.why_not() is not None:
        pytest.skip(str(emulate.why_not()))
    made = program(tmp_path / "program", "jetson-nano")
    checked([*sample_library.runner(targets.load("jetson-nano")), made], path)
