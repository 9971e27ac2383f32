"""How a table is filled, with boards and a compiler that are made up."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_boards import CALL, INSIDE, Names, World, install, key, seconds, write

from tvmkd.base.errors import InputError, InternalError, MissingError, WorkerDied
from tvmkd.search.latency import filling
from tvmkd.search.latency.filling import Filled, Network, fill
from tvmkd.search.latency.folder import NETWORKS
from tvmkd.search.latency.table import LatencyTable


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    install(monkeypatch, made)
    return made


def nets(*networks: tuple[int, ...]) -> list[Network]:
    def maker(numbers: tuple[int, ...]) -> Network:
        return lambda: (Names(*numbers), (1, 3))  # type: ignore[return-value]

    return [maker(numbers) for numbers in networks]


SPACE = [(1, 2, 3), (1, 2, 4), (1, 5, 6, 7), (5, 6, 8)]


def run(world: World, folder: Path, *networks: tuple[int, ...], **options: Any) -> Filled:
    with world.table(folder) as made:
        return fill(made, nets(*networks), **options)


def test_kernels_are_tuned_between_readings_and_networks_timed_after_them(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "CHUNK", 3)
    done = run(world, tmp_path / "t", *SPACE, whole=2)
    steps = [e if isinstance(e, str) else e[0] for e in world.log if e[0] != "lower"]
    assert steps == [*["reference", "tune"] * 3, "reference", "time", "time"]
    assert sorted(world.tuned()) == list(range(1, 9))
    assert {entry[2] for entry in world.log if entry[0] == "tune"} == {3, 2}
    assert (done.networks, done.kernels, done.tuned, done.missing) == (4, 8, 8, 0)
    assert (done.timed, done.failed, done.untimed, done.failures) == (2, 0, 0, [])
    assert done.board_seconds >= 4.0


def test_the_most_useful_kernel_is_first(world: World, tmp_path: Path) -> None:
    # Kernel 14 is in every network, and much slower than the others.
    run(world, tmp_path, (14, 1), (14, 2), (14, 3), whole=0)
    assert world.tuned()[0] == 14
    (entry,) = (entry for entry in world.log if entry[0] == "tune")
    assert entry[2] == 4


def test_kernels_are_chosen_again_when_others_are_known(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "FIRST", 2)
    monkeypatch.setattr(filling, "CHUNK", 4)
    world.boards.bad = {3}
    seen: list[set[str]] = []
    real = filling.most_useful

    def most_useful(times: Any, **options: Any) -> Any:
        seen.append({each.kernel.key for each in times[0] if each.source == "measured"})
        return real(times, **options)

    monkeypatch.setattr(filling, "most_useful", most_useful)
    done = run(world, tmp_path / "a", tuple(range(1, 12)), whole=0)
    sizes = [len(entry[1]) for entry in world.log if entry[0] == "tune"]
    assert sizes[:2] == [2, 2], "no more than are known"
    assert max(sizes) == 4
    assert sum(sizes) == 11, "a kernel that fails is not tried twice"
    assert (done.tuned, done.missing) == (10, 1)
    assert seen[0] == set()
    assert all(before < after for before, after in itertools.pairwise(seen))
    done = run(world, tmp_path / "b", tuple(range(1, 12)), whole=0, kernels=5)
    assert done.tuned + done.missing == 11
    assert done.tuned in (4, 5)


def test_what_is_there_is_not_measured_again(world: World, tmp_path: Path) -> None:
    run(world, tmp_path, *SPACE, whole=2)
    world.log.clear()
    done = run(world, tmp_path, *SPACE, (1, 9), whole=3)
    assert world.tuned() == [9]
    assert (done.tuned, done.timed) == (1, 1)
    world.log.clear()
    done = run(world, tmp_path, *SPACE, whole=2)
    assert [entry for entry in world.log if entry[0] != "lower"] == []
    assert (done.tuned, done.timed, done.missing) == (0, 0, 0)


def test_the_networks_of_the_least_certain_prediction_are_timed(
    world: World, tmp_path: Path
) -> None:
    world.boards.bad = {14}
    run(world, tmp_path, (1, 3, 5), (14, 14, 2, 4), (1, 3, 5, 7), (2, 4), whole=2)
    # One whose slowest kernel is interpolated; then one of another kind, and not the like of it.
    assert world.timed() == [(14, 14, 2, 4), (1, 3, 5)]


def test_kernels_of_other_networks_are_predicted_from_them(world: World, tmp_path: Path) -> None:
    many = [tuple(range(start, start + 4)) for start in range(1, 20)]
    run(world, tmp_path, *many, whole=10)
    with world.table(tmp_path) as made:
        found = made.predict_model(write([3, 9, 12, 15], tmp_path / "new.onnx"))
        truth = CALL + INSIDE * sum(map(seconds, (3, 9, 12, 15)))
        assert found.seconds == pytest.approx(truth, rel=0.05)
        assert found.low < truth < found.high
        (twice,) = made.kernels(write([3, 3], tmp_path / "twice.onnx"))
        assert twice.calls == 2


def test_a_board_that_goes_away_leaves_what_was_measured(world: World, tmp_path: Path) -> None:
    world.boards.left = 5
    with pytest.raises(MissingError, match="no board answers"):
        run(world, tmp_path, *SPACE)
    kept = world.tuned()[:5]
    with world.table(tmp_path) as made:
        assert [number for number in range(1, 9) if made.measured(key(number))] == sorted(kept)
    world.boards.left = None
    world.log.clear()
    done = run(world, tmp_path, *SPACE, whole=1)
    assert sorted(world.tuned()) == sorted(set(range(1, 9)) - set(kept))
    assert (done.tuned, done.missing, done.timed) == (3, 0, 1)


def test_a_board_that_goes_away_while_networks_are_timed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LatencyTable.measure

    def measure(self: LatencyTable, onnx: Path) -> Any:
        if len(world.timed()) == 2:
            world.boards.left = 0
        return real(self, onnx)

    monkeypatch.setattr(LatencyTable, "measure", measure)
    with pytest.raises(MissingError, match="was lost"):
        run(world, tmp_path, *SPACE)
    assert len((tmp_path / NETWORKS).read_text().splitlines()) == 2


@pytest.mark.parametrize("error", [InputError("bad"), WorkerDied("bad"), InternalError("bad")])
def test_networks_that_fail_do_not_end_it(world: World, tmp_path: Path, error: Exception) -> None:
    world.compiler.faults = {("lower", 4): error, ("build", 8): error}

    def broken() -> Any:
        raise InputError("no such width")

    with world.table(tmp_path) as made:
        done = fill(made, [*nets(*SPACE), broken])
    assert (done.networks, done.failed, done.untimed, done.timed) == (5, 2, 1, 2)
    assert done.failures == ["bad", "no such width", "bad"]
    assert (1, 2, 4) not in world.timed()


def test_a_network_that_ends_the_board_s_session_is_left_out(world: World, tmp_path: Path) -> None:
    world.boards.fatal = {8}
    done = run(world, tmp_path, *SPACE)
    assert (done.timed, done.untimed) == (3, 1)
    assert "was lost" in done.failures[0]
    assert world.log[world.log.index(("time", (5, 6, 8))) + 1] == "reference"


def test_without_a_network_there_is_nothing_to_do(world: World, tmp_path: Path) -> None:
    world.compiler.faults = {("lower", 1): InputError("no operator of this name")}
    with pytest.raises(InputError, match=r"none of 1 networks .*; the first: no operator of this"):
        run(world, tmp_path / "new", (1, 2))
    with pytest.raises(InputError, match="none of 0 networks"):
        run(world, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with (
        world.table(tmp_path / "new", boards=None) as made,
        pytest.raises(InputError, match="this table only predicts"),
    ):
        fill(made, nets((1, 2), (2, 3)))


def test_a_kernel_that_always_fails_stays_interpolated(world: World, tmp_path: Path) -> None:
    world.boards.bad = {3}
    done = run(world, tmp_path, *SPACE, whole=4)
    assert (done.tuned, done.missing, done.timed) == (7, 1, 4)
    with world.table(tmp_path) as made:
        found = made.predict_model(write([1, 3], tmp_path / "n.onnx"))
        assert {each.kernel.name: each.source for each in found.kernels} == {
            "k1": "measured",
            "k3": "interpolated",
        }
        assert made.history(key(3)) == [None]


def test_only_some_kernels_or_none(world: World, tmp_path: Path) -> None:
    done = run(world, tmp_path / "a", *SPACE, kernels=2, whole=0)
    assert (done.tuned, done.missing, done.timed) == (2, 6, 0)
    world.log.clear()
    done = run(world, tmp_path / "b", *SPACE, kernels=0, whole=2)
    # Of networks alone nothing could be said about their kernels.
    assert (done.tuned, done.missing, done.timed, world.timed()) == (0, 8, 0, [])


def test_several_trials_of_each_kernel(world: World, tmp_path: Path) -> None:
    done = run(world, tmp_path, (1, 2), trials=3, whole=0)
    assert done.tuned == 2
    with world.table(tmp_path) as made:
        assert [len(made.history(key(number))) for number in (1, 2)] == [3, 3]


def test_drift_is_taken_out_of_kernels_and_networks(world: World, tmp_path: Path) -> None:
    run(world, tmp_path, (1, 2, 3), whole=1)
    with world.table(tmp_path) as made:
        for _ in range(6):
            made.read_drift()
        network = write([1, 2], tmp_path / "n.onnx")
        before = made.measure(network)
        world.boards.slow = 1.3
        hit = made.measure(network)
        assert (hit.drift.lasting, hit.drift.passing) == (1.0, pytest.approx(1.3))
        assert hit.seconds == pytest.approx(1.3 * before.seconds), "it may be as slow as it was"
        for _ in range(12):
            made.read_drift()
        after = made.measure(network)
        assert (after.drift.lasting, after.drift.passing) == (pytest.approx(1.3), 1.0)
        assert after.seconds == pytest.approx(before.seconds)
        assert {round(each.seconds / before.seconds, 6) for each in made.timed()[1:]} == {1.0}


def test_a_network_that_was_timed_beside_other_load_is_timed_again_after_the_others(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, slow = LatencyTable.measure, iter([2.0])

    def measure(self: LatencyTable, onnx: Path) -> Any:
        world.boards.slow = next(slow, 1.0)
        return real(self, onnx)

    monkeypatch.setattr(LatencyTable, "measure", measure)
    done = run(world, tmp_path / "a", *SPACE, whole=4)
    first, *others = world.timed()
    assert sorted(others) == sorted(SPACE)
    assert others[-1] == first
    assert (done.timed, done.untimed) == (4, 0)
    # Where it never ends, no more than once for each network that is wanted.
    world.log.clear()
    slow = itertools.repeat(2.0)
    done = run(world, tmp_path / "a", (1, 9), (1, 10), whole=2)
    assert len(world.timed()) == 4
    assert done.timed == 2


def test_instructions_do_not_drift(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World("icount")
    install(monkeypatch, world)
    run(world, tmp_path, *SPACE, whole=2)
    assert "reference" not in world.log
    with world.table(tmp_path, boards=None) as made:
        assert made.unit == "instructions"
        assert made.folder.readings == []


def test_a_reading_of_the_drift_that_is_not_old_is_enough(world: World, tmp_path: Path) -> None:
    with world.table(tmp_path) as made:
        for every, count in ((60.0, 1), (60.0, 1), (0.0, 2)):
            made.read_drift(every)
            assert len(made.folder.readings) == count
        made.folder.readings[:] = [replace(each, t=each.t - 61) for each in made.folder.readings]
        made.read_drift(60.0)
        assert len(made.folder.readings) == 3


def test_files_do_not_pile_up(world: World, tmp_path: Path) -> None:
    with world.table(tmp_path) as made:
        fill(made, nets((1, 2), (1, 2), (2, 1), (1,)), whole=2)
        left = sorted(path.name for path in made.lowering.folder.iterdir())
        # One that has both kernels, for trials later on, and how the last trials got it.
        assert left == ["1.onnx", "whole-1.onnx"]
        folder = made.lowering.folder
    assert not folder.exists()


def test_progress_is_shown(world: World, tmp_path: Path) -> None:
    shown: dict[str, tuple[int, int, str]] = {}

    class Progress:
        def add_task(self, text: str, *, total: int, note: str) -> str:
            shown[text] = (0, total, note)
            return text

        def update(self, text: str, *, completed: int, note: str) -> None:
            shown[text] = (completed, shown[text][1], note)

    with world.table(tmp_path) as made:
        fill(made, nets(*SPACE), whole=3, progress=Progress())  # type: ignore[arg-type]
    assert shown["lowering networks"] == (4, 4, "8 kernels")
    assert shown["tuning kernels"] == (8, 8, "")
    assert shown["timing networks"][:2] == (3, 3)
    assert shown["timing networks"][2].endswith(" us")
    shown.clear()
    with world.table(tmp_path) as made:
        fill(made, nets(*SPACE), whole=3, progress=Progress())  # type: ignore[arg-type]
    assert list(shown) == ["lowering networks"]
