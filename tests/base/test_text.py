from __future__ import annotations

import pytest

from tvmkd.base.text import heading, listing, printable, reason, suggest, suggest_or_own


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


def test_initials_are_suggested_before_what_looks_alike() -> None:
    known = ["hard_mining", "learn", "lr"]
    assert suggest("learning_rate", known) == '; did you mean "lr"?'
    assert suggest("learning", known) == '; did you mean "learn"?'


def test_where_nothing_is_near_all_are_named() -> None:
    known = ["kd", "mse"]
    assert suggest_or_own("mes", known) == '; did you mean "mse"?'
    assert suggest_or_own("zzz", known) == "; known: kd, mse; or give module:callable"


def test_a_heading_keeps_the_capitals_of_a_name() -> None:
    assert heading("accuracy on the validation split") == "Accuracy on the validation split"
    assert heading("mAP on the validation split") == "mAP on the validation split"
    assert heading("") == ""


def test_listing() -> None:
    assert listing(["a", "b"]) == "a, b"
    assert listing([]) == "none"


def test_a_name_that_is_no_utf8_can_be_written() -> None:
    assert printable("café") == "café"
    assert printable(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\ntwo", "one"),
        ("\n  one  \n", "one"),
        ("Traceback (most recent call last):\n  File x\nCheck failed\n", "Check failed"),
        ("", "ValueError"),
        ("x" * 500, "x" * 300),
        ("RPCError: Error caught from RPC call:\n  [bt] (1) x\nCUDA_ERROR: why", "CUDA_ERROR: why"),
    ],
)
def test_the_reason_is_one_line(text: str, line: str) -> None:
    assert reason(ValueError(text)) == line
