from __future__ import annotations

from typing import Any

import pytest

from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.boards import match

NANO: dict[str, Any] = {
    "machine": "aarch64",
    "libc": "glibc 2.27",
    "tvm": match._tvm_here(),
    "emulated": False,
}


def test_a_nano_fits_its_targets_and_a_silent_server_fits_all() -> None:
    for name in ("jetson-nano", "jetson-nano-gpu"):
        target = targets.load(name).to_dict()
        assert match.mismatches(target, NANO) == []
        assert match.mismatches(target, {}) == []


@pytest.mark.parametrize(
    ("target", "facts", "reason"),
    [
        ("x86-64-v3", {}, "it is aarch64 and the target is x86_64"),
        ("jetson-nano", {"libc": "glibc 2.19"}, "its glibc 2.19 is older than the target's 2.27"),
        ("jetson-nano", {"tvm": "0.1.0"}, "it runs TVM 0.1.0"),
        ("jetson-nano-gpu", {"emulated": True}, "an emulated board has no GPU"),
    ],
)
def test_what_does_not_fit_is_said(target: str, facts: dict[str, Any], reason: str) -> None:
    wanted = targets.load(target).to_dict()
    with pytest.raises(InputError, match=rf"the board at b:1 does not fit .*{reason}.*--rpc-key"):
        match.check_match(wanted, "b:1", {**NANO, **facts})


def test_glibc_versions_are_numbers_not_text() -> None:
    wanted = targets.load("jetson-nano").to_dict()
    assert match.mismatches(wanted, {**NANO, "libc": "glibc 2.100"}) == []
