from __future__ import annotations

import pytest

from tvmkd import targets
from tvmkd.errors import UsageError
from tvmkd.quantize import pays


def test_a_target_where_it_does_not_pay_refuses_with_the_files_reason() -> None:
    target = targets.load("jetson-nano-gpu")
    with pytest.raises(UsageError, match=r"jetson-nano-gpu: sm_53 has no dp4a.*allow_slow = true"):
        pays.check(target, allow_slow=False)


def test_who_insists_is_warned(capsys: pytest.CaptureFixture[str]) -> None:
    pays.check(targets.load("jetson-nano-gpu"), allow_slow=True)
    assert "sm_53 has no dp4a" in capsys.readouterr().err


def test_where_it_pays_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    pays.check(targets.load("jetson-nano"), allow_slow=False)
    assert capsys.readouterr().err == ""
