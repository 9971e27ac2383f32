from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.deploy.bundles.archive import EXECUTABLE, Entry, parse_sums, read, write


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from a file")
    entries = {
        "b/c/d": Entry(tmp_path / "source", EXECUTABLE),
        "a": Entry(b"bytes"),
    }
    write(tmp_path / "x.tar.gz", "top-1", entries)
    top, found = read(tmp_path / "x.tar.gz", 30_000, keep=["a"])
    assert (top, {name: member.data for name, member in found.items()}) == (
        "top-1",
        {"a": b"bytes", "b/c/d": b""},
    )
    assert found["b/c/d"].sha256 == hashlib.sha256(b"from a file").hexdigest()
    assert found["b/c/d"].size == 11
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        modes = [(member.name, member.mode) for member in archive]
    assert modes == [
        ("top-1", 0o755),
        ("top-1/a", 0o644),
        ("top-1/b", 0o755),
        ("top-1/b/c", 0o755),
        ("top-1/b/c/d", 0o755),
    ]
    with pytest.raises(InputError, match="larger than any bundle"):
        read(tmp_path / "x.tar.gz", 10)


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("top/../../x", tarfile.REGTYPE, "leads out"),
        ("/x", tarfile.REGTYPE, "leads out"),
        ("top/x", tarfile.SYMTYPE, "a link or a device"),
        ("top/x", tarfile.LNKTYPE, "a link or a device"),
        ("top/x", tarfile.CHRTYPE, "a link or a device"),
        ("other/x", tarfile.REGTYPE, "no single folder"),
        ("x", tarfile.REGTYPE, "no single folder"),
    ],
)
def test_archives_that_are_no_bundles(tmp_path: Path, name: str, kind: bytes, says: str) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("top/first"), io.BytesIO())
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match=says):
        read(tmp_path / "x.tar.gz", 30_000)


def test_checksums() -> None:
    digest = "0123456789abcdef" * 4
    assert parse_sums(f"{digest}  a b\n", "x") == {"a b": digest}
    for text in (f"{digest} a\n", f"{digest[1:]}  a\n", "\n"):
        with pytest.raises(InputError, match="x: its checksums are damaged"):
            parse_sums(text, "x")
