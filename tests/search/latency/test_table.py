"""A table of two tiny networks, made on this machine as a board; and made-up ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import toys
from made_up_boards import World, install, kernel, key, write

from tvmkd import targets
from tvmkd.base.errors import InputError, MissingError
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.search.latency import correction, skeleton, target_boards
from tvmkd.search.latency.filling import Filled, fill
from tvmkd.search.latency.folder import NETWORKS
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.target_boards import TargetBoards
from tvmkd.stacks import worker_pool
from tvmkd.tuning.session import open_session

if TYPE_CHECKING:
    from tvmkd.boards.fleet import Fleet
    from tvmkd.stacks.worker_pool import Pool

HOST = targets.load("host")
SHAPE = (1, 1, 4, 4)


def net(width: float) -> DepthwiseNet:
    return DepthwiseNet(stem=8, blocks=[(8, 1)], width=width)


@pytest.fixture(scope="module")
def table(
    tmp_path_factory: pytest.TempPathFactory, workers: Pool, fleet: Fleet
) -> Iterator[LatencyTable]:
    folder = tmp_path_factory.mktemp("latency") / "table"
    address = fleet.address()
    boards = TargetBoards(HOST, tracker=(address["host"], address["port"]), key=address["key"])
    with (
        pytest.MonkeyPatch.context() as patch,
        worker_pool.shared(workers),
        LatencyTable(folder, HOST, boards) as made,
    ):
        patch.setattr(target_boards, "LONGEST", 0.5)  # other tests run meanwhile, all the time
        yield made


@pytest.fixture(scope="module")
def filled(table: LatencyTable) -> Filled:
    makers = [lambda each=each: (net(each), SHAPE) for each in (1.0, 1.0, 2.0)]
    return fill(table, makers, whole=1)


@pytest.mark.rpc
def test_every_kernel_is_measured_once_and_networks_whole(
    table: LatencyTable, filled: Filled
) -> None:
    assert (filled.networks, filled.failed, filled.timed) == (3, 0, 1)
    assert filled.tuned == filled.kernels > 4
    assert filled.missing == 0
    assert filled.board_seconds > 0
    assert all(table.measured(key) for key in table.folder.kernels)
    facts = table.describe()
    assert facts["kernels_measured"] == filled.kernels
    assert facts["networks"] == 1


@pytest.mark.rpc
def test_a_prediction_is_near_what_was_measured(table: LatencyTable, filled: Filled) -> None:
    found = table.predict_model(net(1.0), SHAPE)
    assert found.low < found.seconds < found.high
    assert {each.source for each in found.kernels} == {"measured"}
    assert found.interpolated == 0.0
    (measured,) = (network.seconds for network in table.folder.networks)
    assert measured / 5 < found.seconds < measured * 5


@pytest.mark.rpc
def test_unknown_kernels_are_interpolated(table: LatencyTable, filled: Filled) -> None:
    found = table.predict_model(net(3.0), SHAPE)
    guessed = [each for each in found.kernels if each.source == "interpolated"]
    assert guessed
    assert all(each.error > 0 for each in guessed)
    assert 0 < found.interpolated <= 1
    assert found.low < found.seconds < found.high


@pytest.mark.rpc
def test_more_trials_of_some_kernels(table: LatencyTable, filled: Filled) -> None:
    slowest = max(table.kernels(net(2.0), SHAPE), key=lambda kernel: kernel.flop).key
    before = table.measured(slowest)
    assert table.tune(table.files([slowest]), {slowest: 1.0}, 2) > 0
    after = table.measured(slowest)
    assert before is not None
    assert after is not None
    assert after <= before * 1.5  # the drift of a busy machine is taken out of both
    assert len(table.history(slowest)) == 3


@pytest.mark.rpc
def test_a_file_is_measured_and_learnt_from(
    table: LatencyTable, filled: Filled, tmp_path: Path
) -> None:
    onnx = skeleton.write(net(2.0), SHAPE, tmp_path / "n.onnx")
    before = len(table.folder.networks)
    measured = table.measure(onnx)
    assert 0 < measured.seconds < 0.1
    assert measured.board_seconds > 0
    assert measured.drift.lasting > 0
    assert len(table.folder.networks) == before + 1
    again = table.predict_model(onnx)
    assert measured.seconds / 3 < again.seconds < measured.seconds * 3


@pytest.mark.rpc
def test_the_folder_is_read_again(table: LatencyTable, filled: Filled) -> None:
    kernels = table.kernels(net(1.0), SHAPE)
    with LatencyTable(table.path, HOST) as again:
        assert again.predict(kernels) == table.predict(kernels)
        with pytest.raises(InputError, match="this table only predicts"):
            again.tune([], {}, 1)


# Without a board and a compiler from here on.


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    install(monkeypatch, made)
    return made


def made_up(world: World, folder: Path) -> Path:
    """A table of five kernels and two networks."""
    makers = [
        lambda numbers=numbers: (write(numbers, folder.parent / f"{numbers[1]}.onnx"), None)
        for numbers in ([1, 2, 3], [1, 4, 5])
    ]
    with world.table(folder) as table:
        fill(table, makers, whole=2)
    return folder


def test_a_table_of_another_target_or_kind_of_figure(world: World, tmp_path: Path) -> None:
    folder = made_up(world, tmp_path / "table")
    with pytest.raises(InputError, match=f"holds records for the target '{HOST.name}', not"):
        LatencyTable(folder, targets.load("jetson-nano"))
    with pytest.raises(InputError, match="was made by the stack 'relax', not 'relay'"):
        LatencyTable(folder, HOST, stack="relay")
    counting = World("icount")
    with pytest.raises(InputError, match="holds times, and instruction counts cannot be compared"):
        LatencyTable(folder, HOST, counting.boards)  # type: ignore[arg-type]


def test_reckoned_scores_are_no_times(world: World, tmp_path: Path) -> None:
    open_session(tmp_path, HOST.to_dict(), "relax", evaluator="score").close()
    with pytest.raises(InputError, match="holds scores, and times cannot be compared"):
        LatencyTable(tmp_path, HOST)


def test_an_empty_table(world: World, tmp_path: Path) -> None:
    path = write([1, 2], tmp_path / "n.onnx")
    for folder in (tmp_path / "none", toys.records_of(tmp_path / "empty", "host")):
        with LatencyTable(folder, HOST) as table:
            with pytest.raises(InputError, match="no kernel of this target has been measured"):
                table.predict_model(path)
            assert not table.holds_times()
            assert table.describe()["kernels_measured"] == 0
    assert not (tmp_path / "none").exists()


def test_a_folder_of_tuning_records_alone(world: World, tmp_path: Path) -> None:
    folder = made_up(world, tmp_path / "table")
    for name in ("kernels.jsonl", NETWORKS):
        (folder / name).unlink()
    with LatencyTable(folder, HOST) as table:
        with pytest.raises(InputError, match="none of this network's kernels has been measured"):
            table.predict_model(write([8, 9], tmp_path / "other.onnx"))
        found = table.predict_model(write([1, 9], tmp_path / "half.onnx"))
        assert {each.kernel.name: each.source for each in found.kernels} == {
            "k1": "measured",
            "k9": "interpolated",
        }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("kernels.jsonl", "", f"which kernels.jsonl does not; remove {NETWORKS}"),
        (NETWORKS, "{}\n", "is no line of this file; remove it"),
        ("trials.jsonl", "[]\n", "line 1 is no trial"),
        ("session.json", "{", "session.json is damaged"),
        (correction.FILE, "{", correction.FILE),
    ],
)
def test_a_damaged_table(world: World, tmp_path: Path, name: str, text: str, said: str) -> None:
    folder = made_up(world, tmp_path / "table")
    (folder / name).write_text(text)
    with (
        pytest.raises(InputError, match=said),
        LatencyTable(folder, HOST) as table,
    ):
        table.predict_model(write([1, 2], tmp_path / "n.onnx"))


def test_a_table_may_be_copied(world: World, tmp_path: Path) -> None:
    folder = made_up(world, tmp_path / "a table")
    copy = shutil.copytree(folder, tmp_path / "its copy")
    path = write([1, 5], tmp_path / "n.onnx")
    with LatencyTable(folder, HOST) as first, LatencyTable(copy, HOST) as second:
        assert first.predict_model(path) == second.predict_model(path)


def test_a_correction_from_production_is_in_every_prediction(world: World, tmp_path: Path) -> None:
    folder = made_up(world, tmp_path / "table")
    kernels = [kernel(1), kernel(2)]
    with LatencyTable(folder, HOST) as table:
        before = table.predict(kernels)
        assert "correction" not in table.describe()
        (folder / correction.FILE).write_text('{"schema_version": 1, "factor": 1.5, "entries": []}')
        table.refresh()
        after = table.predict(kernels)
        assert after.seconds == pytest.approx(1.5 * before.seconds)
        assert table.describe()["correction"] == 1.5


def test_a_network_of_unknown_kernels_is_timed_and_not_learnt_from(
    world: World, tmp_path: Path
) -> None:
    path = write([1, 2], tmp_path / "n.onnx")
    with world.table(tmp_path / "table") as table:
        assert table.measure(path).seconds > 0
        assert table.folder.networks == []
        world.boards.left = 0
        with pytest.raises(MissingError, match="was lost"):
            table.measure(path)


def test_spellings_of_a_key(world: World, tmp_path: Path) -> None:
    with LatencyTable(made_up(world, tmp_path / "table"), HOST) as table:
        assert table.measured("0x1") == table.measured(key(1)) is not None
        assert table.measured("0x99") is None


def test_closing_a_table_frees_the_boards(world: World, tmp_path: Path) -> None:
    with world.table(tmp_path):
        assert not world.boards.closed
    assert world.boards.closed
