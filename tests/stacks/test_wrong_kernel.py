"""The search for a wrong record, with a fake builder and reference."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from fake_builder import DEFAULT, FakeBuilder, FakeReference, record, task

from tvmkd.base.errors import InputError
from tvmkd.stacks import wrong_kernel
from tvmkd.stacks.wrong_kernel import NoRecordIsWrong, build_until_right, find_wrong
from tvmkd.tuning import records

KEYS = ("a", "b", "c", "d", "e")
Usable = dict[str, list[records.StoredRecord]]


def usable(folder: Path, count: int = 5) -> Usable:
    """Two records a task: ``a1`` before ``a2``, and so on."""
    return {
        key: [record(key, f"{key}1", 1e-3, folder), record(key, f"{key}2", 2e-3, folder)]
        for key in KEYS[:count]
    }


def search(
    tmp_path: Path, reference: FakeReference, given: Usable | None = None
) -> tuple[Any, list[dict[str, str]], FakeBuilder, list[tuple[str, Any]]]:
    builder = FakeBuilder(*map(task, KEYS))
    events: list[tuple[str, Any]] = []
    verdict, aside = build_until_right(
        builder,
        lambda verdict: f"net.onnx: {verdict.reason}",
        usable(tmp_path) if given is None else given,
        reference,
        tmp_path / "model.so",
        [tmp_path],
        lambda name, data: events.append((name, data)),
    )
    return verdict, aside, builder, events


def test_a_right_model_is_built_once_with_the_best_records_and_the_defaults(tmp_path: Path) -> None:
    given = usable(tmp_path, 3)
    verdict, aside, builder, events = search(tmp_path, FakeReference(), given)
    assert (verdict.agrees, aside) == (True, [])
    assert builder.builds == [("model.so", ["a1", "b1", "c1"], True)]
    assert events == [
        ("stage", {"text": "compiling 5 kernels"}),
        ("stage", {"text": "comparing with ONNX Runtime"}),
    ]
    assert not (tmp_path / records.ASIDE).exists()


@pytest.mark.parametrize("key", KEYS)
def test_the_one_wrong_record_is_set_aside_and_the_next_best_taken(
    key: str, tmp_path: Path
) -> None:
    verdict, aside, builder, events = search(tmp_path, FakeReference((key, f"{key}1")))
    assert verdict.agrees
    reason = f"outputs differ: [('{key}', '{key}1')]"
    entry = {
        "task": f"kernel of {key}",
        "key": f"{key}1",
        "reason": reason,
        "folder": str(tmp_path),
    }
    assert aside == [entry]
    assert [data for name, data in events if name == "set_aside"] == [entry]
    name, used, defaults = builder.builds[-1]
    assert (name, defaults) == ("model.so", True)
    assert used == [f"{each}{2 if each == key else 1}" for each in KEYS]
    assert records.aside(tmp_path) == {(records.normal_key(key), f"{key}1")}
    (line,) = records.read_lines(tmp_path / records.ASIDE)
    assert line["reason"] == reason


def test_the_search_builds_beside_the_library_without_default_schedules(tmp_path: Path) -> None:
    _, _, builder, events = search(tmp_path, FakeReference(("c", "c1")))
    first, *probes, last = builder.builds
    assert first[0] == last[0] == "model.so"
    assert {(name, defaults) for name, _, defaults in probes} == {("probe.so", False)}
    assert [len(used) for _, used, _ in probes] == [0, 5, 2, 3]
    assert events[2:6] == [
        ("stage", {"text": f"searching for the wrong kernel: {count} of 5 tuned"})
        for count in (0, 5, 2, 3)
    ]
    assert all(used == [f"{key}1" for key in KEYS[: len(used)]] for _, used, _ in probes)


@pytest.mark.parametrize("pair", list(combinations(KEYS, 2)))
def test_two_wrong_records_are_both_found(pair: tuple[str, str], tmp_path: Path) -> None:
    wrong = [(key, f"{key}1") for key in pair]
    verdict, aside, _, _ = search(tmp_path, FakeReference(*wrong))
    assert verdict.agrees
    assert sorted(entry["key"] for entry in aside) == sorted(key for _, key in wrong)


def test_where_all_records_of_a_task_are_wrong_it_gets_its_default(tmp_path: Path) -> None:
    reference = FakeReference(("c", "c1"), ("c", "c2"))
    verdict, aside, builder, _ = search(tmp_path, reference)
    assert verdict.agrees
    assert [entry["key"] for entry in aside] == ["c1", "c2"]
    assert builder.builds[-1] == ("model.so", ["a1", "b1", "d1", "e1"], True)


def test_a_model_that_is_wrong_without_records_blames_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"net.onnx: outputs differ"):
        search(tmp_path, FakeReference(always=True))
    assert not (tmp_path / records.ASIDE).exists()


def test_a_wrong_default_schedule_blames_no_record(tmp_path: Path) -> None:
    """Task e has no record, and its default is wrong: built with it, every probe looks wrong."""
    given = usable(tmp_path, 4)
    with pytest.raises(InputError, match=r"net.onnx: outputs differ"):
        search(tmp_path, FakeReference(("e", DEFAULT)), given)
    assert not (tmp_path / records.ASIDE).exists()
    assert [each[0].key for each in given.values()] == ["a1", "b1", "c1", "d1"]


def test_a_wrong_default_beside_a_wrong_record_ends_when_that_is_set_aside(tmp_path: Path) -> None:
    given = usable(tmp_path, 4)
    with pytest.raises(InputError, match="outputs differ"):
        search(tmp_path, FakeReference(("e", DEFAULT), ("b", "b1")), given)
    assert [key for _, key in records.aside(tmp_path)] == ["b1"]


def test_without_any_record_a_wrong_default_ends_it_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outputs differ"):
        search(tmp_path, FakeReference(("a", DEFAULT)), {})


@pytest.mark.parametrize("count", range(1, 10))
def test_bisection_finds_every_index_in_few_steps(count: int) -> None:
    for guilty in range(count):
        asked: list[int] = []

        def agrees(n: int, guilty: int = guilty, asked: list[int] = asked) -> bool:
            asked.append(n)
            return n <= guilty

        assert find_wrong(count, agrees) == guilty
        assert len(asked) <= 2 + count.bit_length()
        assert len(set(asked)) == len(asked), "nothing is built twice"


def test_bisection_asks_first_for_no_record_and_then_for_all() -> None:
    asked: list[int] = []
    with pytest.raises(NoRecordIsWrong, match="the importer or the code generator"):
        find_wrong(4, lambda n: bool(asked.append(n)))
    assert asked == [0]
    with pytest.raises(NoRecordIsWrong, match="a default schedule is wrong"):
        find_wrong(4, lambda n: not asked.append(n))
    assert asked == [0, 0, 4]


def test_a_record_is_set_aside_in_its_own_folder_or_else_the_first_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, mine, other = (tmp_path / name for name in ("shipped", "mine", "other"))
    for folder in (shipped, mine, other):
        folder.mkdir()
    closed = {shipped}
    monkeypatch.setattr(
        wrong_kernel.os, "access", lambda path, mode: path not in closed and mode == 2
    )
    bad = record("a", "a1", folder=shipped)
    wrong_kernel.write_aside(bad, [shipped, mine, other], "wrong by 47")
    assert [(f / records.ASIDE).exists() for f in (shipped, mine, other)] == [False, True, False]
    (line,) = records.read_lines(mine / records.ASIDE)
    assert (line["task"], line["key"]) == (records.normal_key("a"), "a1")
    assert line["reason"] == "wrong by 47"
    wrong_kernel.write_aside(record("b", "b1", folder=other), [mine, other], "wrong")
    assert len(records.read_lines(other / records.ASIDE)) == 1
    assert len(records.read_lines(mine / records.ASIDE)) == 1
    closed |= {mine, other}
    wrong_kernel.write_aside(bad, [mine, other], "nowhere to write it")
    assert len(records.read_lines(mine / records.ASIDE)) == 1
