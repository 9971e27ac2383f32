from __future__ import annotations

import pytest

from tvmkd.base import limits
from tvmkd.base.errors import UsageError


def test_the_callers_limit_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(limits.VARIABLE, raising=False)
    assert limits.silence_limit() == limits.DEFAULT
    assert limits.silence_limit(7) == 7
    assert limits.silence_limit(0) is None
    monkeypatch.setenv(limits.VARIABLE, "90")
    assert limits.silence_limit() == 90
    assert limits.silence_limit(7) == 7
    monkeypatch.setenv(limits.VARIABLE, "0")
    assert limits.silence_limit() is None
    monkeypatch.setenv(limits.VARIABLE, "")
    assert limits.silence_limit() == limits.DEFAULT


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_limit_that_is_no_number_of_seconds_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(limits.VARIABLE, text)
    with pytest.raises(UsageError, match=f'"{text}" is not a number of seconds'):
        limits.silence_limit()
