from __future__ import annotations

import pytest

from tvmkd.base.text import listing, suggest


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("trails", '; did you mean "trials"?'),
        ("TRIALS", '; did you mean "trials"?'),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_is_suggested(word: str, hint: str) -> None:
    assert suggest(word, ["trials", "tracker"]) == hint


def test_listing() -> None:
    assert listing(["a", "b"]) == "a, b"
    assert listing([]) == "none"
