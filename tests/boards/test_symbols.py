from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.boards import symbols


@pytest.mark.parametrize(
    ("glibc", "libstdcxx"),
    [
        ("2.17", "3.4.19"),
        ("2.26", "3.4.19"),
        ("2.27", "3.4.25"),
        ("2.30", "3.4.25"),
        ("2.31", "3.4.28"),
        ("2.100", "3.4.33"),
    ],
)
def test_the_newest_known_system_that_is_no_newer_counts(glibc: str, libstdcxx: str) -> None:
    found = symbols.limits(glibc)
    assert (found["GLIBC"], found["GLIBCXX"]) == (glibc, libstdcxx)


@pytest.mark.parametrize("glibc", ["2.16", "2.5"])
def test_nothing_is_known_of_older_systems(glibc: str) -> None:
    with pytest.raises(InputError, match=f"glibc {glibc}: nothing is known"):
        symbols.limits(glibc)


@pytest.mark.parametrize(
    ("needed", "clause"),
    [
        ({}, None),
        ({"GLIBC": "2.27"}, None),
        ({"GLIBC": "2.4", "GLIBCXX": "3.4.25", "CXXABI": "1.3.11"}, None),
        ({"GLIBC": "2.28"}, "needs GLIBC_2.28 and a system with glibc 2.27 has GLIBC_2.27"),
        ({"GLIBCXX": "3.4.26"}, "needs GLIBCXX_3.4.26 .* has GLIBCXX_3.4.25 at most"),
        ({"GLIBC": "2.17", "CXXABI": "1.3.12"}, "needs CXXABI_1.3.12 .* has CXXABI_1.3.11"),
    ],
)
def test_versions_are_compared_as_numbers_a_kind_at_a_time(
    needed: dict[str, str], clause: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbols, "needed", lambda library: needed)
    paths = [Path("/x/a.so"), Path("/x/b.so")]
    if clause is None:
        assert symbols.check(paths, "2.27") == {"a.so": needed, "b.so": needed}
    else:
        with pytest.raises(InputError, match=f"/x/a.so: {clause}"):
            symbols.check(paths, "2.27")


def test_the_second_library_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"a.so": {"GLIBC": "2.17"}, "b.so": {"GLIBC": "2.35"}}
    monkeypatch.setattr(symbols, "needed", lambda library: versions[library.name])
    with pytest.raises(InputError, match=r"b\.so: needs GLIBC_2\.35"):
        symbols.check([Path("a.so"), Path("b.so")], "2.27")


@pytest.mark.parametrize("content", [b"", b"not a library"])
def test_what_is_no_library_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.so"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.so: not an ELF library"):
        symbols.needed(path)
