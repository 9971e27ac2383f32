"""A table of a few tiny networks, made on this machine as a board."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvmkd import targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.search.latency import correction, skeleton
from tvmkd.search.latency.filling import Filled, fill
from tvmkd.search.latency.folder import NETWORKS
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.target_boards import TargetBoards

HOST = targets.load("host")
SHAPE = (1, 1, 8, 8)

pytestmark = [pytest.mark.rpc]


def net(width: float, blocks: int = 2) -> DepthwiseNet:
    return DepthwiseNet(stem=8, blocks=[(16, 1), (16, 2)][:blocks], width=width)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LatencyTable]:
    folder = tmp_path_factory.mktemp("latency") / "table"
    with LatencyTable(folder, HOST, TargetBoards(HOST)) as made:
        yield made


@pytest.fixture(scope="module")
def filled(table: LatencyTable) -> Filled:
    nets = [net(1.0), net(1.0), net(2.0), net(1.0, 1)]

    def broken() -> tuple[DepthwiseNet, tuple[int, ...]]:
        raise InputError("it cannot be built")

    makers = [lambda each=each: (each, SHAPE) for each in nets]
    return fill(table, [*makers, broken], whole=2)


def test_every_kernel_is_measured_once_and_some_networks_whole(
    table: LatencyTable, filled: Filled
) -> None:
    assert (filled.networks, filled.failed, filled.timed) == (5, 1, 2)
    assert filled.failures == ["it cannot be built"]
    assert filled.tuned == filled.kernels > 4
    assert filled.missing == 0
    assert filled.board_seconds > 0
    assert all(table.measured(key) for key in table.folder.kernels)
    facts = table.describe()
    assert facts["kernels_measured"] == filled.kernels
    assert facts["networks"] == 2


def test_a_prediction_is_near_what_was_measured(table: LatencyTable, filled: Filled) -> None:
    found = table.predict_model(net(1.0), SHAPE)
    assert found.low < found.seconds < found.high
    assert {each.source for each in found.kernels} == {"measured"}
    assert found.interpolated == 0.0
    measured = [network.seconds for network in table.folder.networks]
    assert min(measured) / 3 < found.seconds < max(measured) * 3


def test_unknown_kernels_are_interpolated(table: LatencyTable, filled: Filled) -> None:
    found = table.predict_model(net(3.0), SHAPE)
    guessed = [each for each in found.kernels if each.source == "interpolated"]
    assert guessed
    assert all(each.error > 0 for each in guessed)
    assert found.interpolated > 0
    known = table.predict_model(net(2.0), SHAPE)
    assert found.high / found.low > known.high / known.low


def test_the_same_call_again_measures_nothing(table: LatencyTable, filled: Filled) -> None:
    again = fill(table, [lambda: (net(1.0), SHAPE), lambda: (net(2.0), SHAPE)], whole=2)
    timed = {network.structure for network in table.folder.networks}
    assert again.tuned == 0
    assert len(timed) == len(table.folder.networks)


def test_more_trials_of_some_kernels(table: LatencyTable, filled: Filled) -> None:
    key = max(table.kernels(net(2.0), SHAPE), key=lambda kernel: kernel.flop).key
    before = table.measured(key)
    assert table.tune(table.files([key]), {key: 1.0}, 3) > 0
    after = table.measured(key)
    assert before is not None
    assert after is not None
    assert after <= before * 1.05
    with pytest.raises(ValueError, match="no network lowered so far"):
        table.files(["0xdead"])


def test_a_file_is_measured_and_learnt_from(
    table: LatencyTable, filled: Filled, tmp_path: Path
) -> None:
    onnx = skeleton.write(net(2.0, 1), SHAPE, tmp_path / "n.onnx")
    before = len(table.folder.networks)
    measured = table.measure(onnx)
    assert 0 < measured.seconds < 0.1
    assert measured.board_seconds > 0
    assert measured.drift > 0
    assert len(table.folder.networks) == before + 1


def test_the_folder_is_read_again(table: LatencyTable, filled: Filled) -> None:
    expected = table.predict(table.kernels(net(1.0), SHAPE))
    with LatencyTable(table.path, HOST) as again:
        assert again.predict_model(net(1.0), SHAPE).seconds == pytest.approx(expected.seconds)
        with pytest.raises(InputError, match="this table only predicts"):
            again.tune([], {}, 1)


def test_a_table_that_cannot_be_used(table: LatencyTable, filled: Filled, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds records for the target 'host'"):
        LatencyTable(table.path, targets.load("jetson-nano"))
    with pytest.raises(UsageError, match="nothing can be timed on this machine"):
        TargetBoards(targets.load("jetson-nano"))
    with (
        LatencyTable(tmp_path / "empty", HOST) as empty,
        pytest.raises(InputError, match="no kernel of this target has been measured"),
    ):
        empty.predict_model(net(1.0), SHAPE)
    copy = shutil.copytree(table.path, tmp_path / "copy")
    (copy / "kernels.jsonl").unlink()
    with (
        LatencyTable(copy, HOST) as broken,
        pytest.raises(InputError, match=rf"remove {NETWORKS}"),
    ):
        broken.predict_model(net(1.0), SHAPE)


def test_a_correction_from_production_is_in_every_prediction(
    table: LatencyTable, filled: Filled
) -> None:
    assert filled.timed
    before = table.predict_model(net(1.0), SHAPE)
    assert "correction" not in table.describe()
    (table.path / correction.FILE).write_text('{"schema_version": 1, "factor": 1.5, "entries": []}')
    try:
        table.refresh()
        after = table.predict_model(net(1.0), SHAPE)
        assert after.seconds == pytest.approx(1.5 * before.seconds)
        assert table.describe()["correction"] == 1.5
    finally:
        (table.path / correction.FILE).unlink()
        table.refresh()
