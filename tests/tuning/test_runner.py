from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmkd import targets
from tvmkd.base.errors import MissingError
from tvmkd.boards import emulate
from tvmkd.boards.connect import boards
from tvmkd.boards.fleet import Fleet, start_server, start_tracker
from tvmkd.tuning.measurement import RunJob, figure
from tvmkd.tuning.runner import BoardRunner


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=12))
def test_the_figure_is_a_low_value_but_not_an_outlier(seconds: list[float]) -> None:
    value = figure(seconds)
    assert value is not None
    assert value in seconds
    below = sum(other < value for other in seconds)
    assert below <= (len(seconds) - 1) // 4


def test_no_repeats_make_no_figure() -> None:
    assert figure(None) is None
    assert figure([]) is None


@pytest.mark.rpc
def test_opening_says_what_the_board_is(fleet: Fleet) -> None:
    with BoardRunner(fleet.address()) as runner:
        (facts,) = runner.open()
    assert facts["board"].startswith("127.0.0.1:")
    assert facts["threads"] == 1
    assert facts["cores"] >= 1


@pytest.mark.rpc
def test_a_file_that_is_no_library_is_that_candidates_error(fleet: Fleet, tmp_path: Path) -> None:
    bad = tmp_path / "bad.so"
    bad.write_bytes(b"not a library")
    with BoardRunner(fleet.address()) as runner:
        runner.open()
        futures = [runner.submit(RunJob(bad, [("float32", [4])])) for _ in range(2)]
        results = [future.result() for future in futures]
        assert [result.error_kind for result in results] == ["run_error", "run_error"]
        assert runner.lost == 0


@pytest.mark.rpc
def test_a_key_without_boards_is_named_at_once(fleet: Fleet) -> None:
    address = {**fleet.address(), "key": "nobody"}
    with (
        BoardRunner(address) as runner,
        pytest.raises(MissingError, match=r"no board under key 'nobody'.*keys there: tests"),
    ):
        runner.open()


@pytest.mark.rpc
def test_a_board_that_somebody_else_holds_is_waited_for_and_then_named(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tvmkd.tuning.runner.OPEN_SECONDS", 2.0)
    with BoardRunner(fleet.address()) as first, BoardRunner(fleet.address()) as second:
        first.open()
        with pytest.raises(MissingError, match=r"no board answered for 2 s: .*is busy"):
            second.open()


def test_no_tracker_is_one_clear_line() -> None:
    tracker = start_tracker()
    port = tracker.wait_until_listening()
    tracker.end()
    address = {"host": "127.0.0.1", "port": port, "key": "k"}
    with (
        BoardRunner(address) as runner,
        pytest.raises(MissingError, match=f"no tracker at 127.0.0.1:{port}"),
    ):
        runner.open()


@pytest.mark.rpc
@pytest.mark.board
@pytest.mark.skipif(emulate.why_not() is not None, reason=str(emulate.why_not()))
def test_a_refused_board_gets_no_work_however_long_it_goes_on(tmp_path: Path) -> None:
    bad = tmp_path / "bad.so"
    bad.write_bytes(b"not a library")
    with emulate.running_emulated_fleet(targets.load("jetson-nano"), 1, "mixed") as fleet:
        real = start_server(f"{fleet.host}:{fleet.port}", "mixed", threads=1)
        try:
            port = real.wait_until_listening()
            while boards(fleet.host, fleet.port)[0]["free"] < 2:
                time.sleep(0.05)
            seen = set()
            settings = {"run_timeout": 0.5, "session_seconds": 3.0, "emulated": False}
            with BoardRunner(fleet.address(), **settings) as runner:  # type: ignore[arg-type]
                runner.open()
                end = time.monotonic() + 6.0  # four times as long as a refused board is held
                while time.monotonic() < end:
                    seen.add(runner.submit(RunJob(bad, [("float32", [4])])).result().board)
            assert seen == {f"127.0.0.1:{port}"}
        finally:
            real.end()
