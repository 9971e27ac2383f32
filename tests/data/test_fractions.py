from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tvmkd import config
from tvmkd.data.fractions import divide


def files(name: str, *counts: int) -> list[tuple[Path, int]]:
    return [
        (Path(f"{name}{label}-{number}"), label)
        for label, count in enumerate(counts)
        for number in range(count)
    ]


def cfg(**options) -> config.Data:
    return config.Data(val_fraction=0.2, test_fraction=0.3, **options)


def shares(parts: dict) -> list[dict[int, int]]:
    return [dict(Counter(label for _, label in parts[name])) for name in ("train", "val", "test")]


def test_each_class_is_divided_by_the_fractions() -> None:
    whole = files("", 20, 10)
    parts = divide(cfg(), {"all": whole})
    assert shares(parts) == [{0: 10, 1: 5}, {0: 4, 1: 2}, {0: 6, 1: 3}]
    assert sorted(entry for part in parts.values() for entry in part) == sorted(whole)
    assert all(part == sorted(part, key=whole.index) for part in parts.values())
    assert divide(cfg(), {"all": whole}) == parts
    assert divide(cfg(split_seed=1), {"all": whole}) != parts


@pytest.mark.parametrize("held", ["val", "test"])
def test_one_held_out_part_is_tested_on(held: str) -> None:
    parts = divide(cfg(), {"train": files("a", 10), held: files("b", 3)})
    assert shares(parts) == [{0: 8}, {0: 2}, {0: 3}]
    assert parts["test"] == files("b", 3)


@pytest.mark.parametrize("held", ["val", "test"])
def test_a_part_without_labels_is_as_one_that_is_missing(held: str) -> None:
    empty = {"val": "test", "test": "val"}[held]
    parts = divide(cfg(), {"train": files("a", 10), held: files("b", 3), empty: []})
    assert parts == divide(cfg(), {"train": files("a", 10), held: files("b", 3)})


def test_given_splits_are_kept_and_a_training_split_alone_is_divided() -> None:
    given = {name: files(name, 3) for name in ("val", "test", "train")}
    assert divide(cfg(), given) == given
    # Of a class with two images one is kept to train on.
    assert shares(divide(cfg(), {"train": files("", 10, 2)})) == [
        {0: 6, 1: 1},
        {0: 1},
        {0: 3, 1: 1},
    ]
