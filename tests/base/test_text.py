from __future__ import annotations

import pytest

from tvmkd.base.text import listing, printable, suggest


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


def test_a_name_that_is_no_utf8_can_be_written() -> None:
    assert printable("café") == "café"
    assert printable(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9"
