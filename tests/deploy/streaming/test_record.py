from __future__ import annotations

from streams import table

from tvmkd.deploy.streaming.record import COLUMNS, Record, column, latency_ms, stage_ms


def test_rows_come_back_as_they_were_added() -> None:
    record = Record(3)
    assert len(record.table()) == 0
    record.add((0, 1, 2, 3, 4, 5, 6, 0, 0))
    record.add((2, 11, 12, 13, 14, 15, 16, 1, 2))
    assert column(record.table(), "number").tolist() == [0, 2]
    assert column(record.table(), "exit").tolist() == [0, 2]
    assert not record.full
    record.add((3, *range(8)))
    assert record.full
    assert len(COLUMNS) == 9


def test_the_stages_of_a_frame_add_up_to_its_time() -> None:
    rows = table([10.0, 20.0])
    stages = stage_ms(rows)
    assert list(stages) == ["capture", "pre-processing", "model", "post-processing"]
    assert stages["model"].tolist() == [5.0, 10.0]
    assert sum(stages.values()).tolist() == latency_ms(rows).tolist()  # type: ignore[union-attr]
