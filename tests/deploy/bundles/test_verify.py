"""What is refused: bundles of a few letters, signed as real ones are."""

from __future__ import annotations

import base64
from pathlib import Path

import handmade
import minisign
import pytest

from tvmkd.base.errors import InputError
from tvmkd.deploy.bundles import signing
from tvmkd.deploy.bundles.verify import REQUIRED, verify


def _secret(keys: Path, name: str = "ours") -> minisign.SecretKey:
    return signing.secret_key(keys / f"{name}.key", lambda _: "")


@pytest.fixture(scope="module")
def ours(keys: Path) -> minisign.SecretKey:
    """The publisher's key."""
    return _secret(keys)


def test_what_is_found(ours: minisign.SecretKey, tmp_path: Path) -> None:
    files = handmade.content(ours)
    path = handmade.write(tmp_path / "x.tar.gz", files)
    public = ours.get_public_key()
    found = verify(path, public)
    assert found.fields == handmade.FIELDS
    assert (found.key, found.pinned) == (signing.key_id(public), True)
    sums = ("SHA256SUMS", "SHA256SUMS.minisig")
    assert found.files == {name: len(data) for name, data in files.items() if name not in sums}
    # The bundle's own key shows that it is whole, and nothing about who made it.
    found = verify(path)
    assert (found.key, found.pinned) == (signing.key_id(public), False)
    found = verify(handmade.write(tmp_path / "y.tar.gz", handmade.content()))
    assert (found.key, found.pinned) == (None, False)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("model.json", b"{}", "model.json does not have its checksum: it was changed"),
        ("extra", b"x", "extra is not in its checksums, so it was added"),
        ("model.json", None, "model.json is missing"),
        ("BUNDLE", None, "is no bundle of tvmkd: it has no BUNDLE"),
        ("SHA256SUMS", None, "is no bundle of tvmkd: it has no SHA256SUMS"),
        ("SHA256SUMS", b"nonsense", "its checksums are damaged"),
        ("SHA256SUMS.minisig", b"nonsense", "the signature is not right"),
        ("SHA256SUMS.minisig", None, "is not signed; make it with --sign KEYFILE"),
        *((name, None, f"is no bundle of tvmkd: it has no {name}") for name in REQUIRED),
    ],
)
def test_one_file_is_wrong(
    ours: minisign.SecretKey, tmp_path: Path, name: str, data: bytes | None, says: str
) -> None:
    files = handmade.content(ours)
    files.pop(name, None)
    if data is not None:
        files[name] = data
    path = handmade.write(tmp_path / "x.tar.gz", files)
    with pytest.raises(InputError, match=rf"x\.tar\.gz: {says}"):
        verify(path, ours.get_public_key())


def test_every_byte_of_the_files_counts(ours: minisign.SecretKey, tmp_path: Path) -> None:
    """Bits of what is stored, not of the archive: some of gzip's own bits mean nothing.

    The time in its header does not, and a copied string may be taken from another place with the
    same letters.
    """
    files = handmade.content(ours)
    for name, data in files.items():
        if name == "SHA256SUMS.minisig":
            continue
        for at in sorted({0, len(data) // 3, len(data) // 2, len(data) - 2, len(data) - 1}):
            flipped = bytearray(data)
            flipped[at] ^= 1 << at % 8
            path = handmade.write(tmp_path / "x.tar.gz", {**files, name: bytes(flipped)})
            with pytest.raises(InputError, match=r"x\.tar\.gz: "):
                verify(path, ours.get_public_key())
            with pytest.raises(InputError, match=r"x\.tar\.gz: "):
                verify(path)


def test_every_byte_of_the_signature_counts(ours: minisign.SecretKey, tmp_path: Path) -> None:
    files = handmade.content(ours)
    lines = files["SHA256SUMS.minisig"].split(b"\n")

    def verified(changed: list[bytes]) -> None:
        signature = {"SHA256SUMS.minisig": b"\n".join(changed)}
        path = handmade.write(tmp_path / "x.tar.gz", {**files, **signature})
        verify(path, ours.get_public_key())

    # The first line is, as it says itself, an untrusted comment: nothing signs it.
    verified([b"untrusted comment: another", *lines[1:]])
    # Bytes, not letters: base64's last letter has bits that mean nothing.
    for number in (1, 3):
        data = base64.b64decode(lines[number])
        for at in range(len(data)):
            flipped = bytearray(data)
            flipped[at] ^= 1 << at % 8
            changed = [*lines[:number], base64.b64encode(flipped), *lines[number + 1 :]]
            with pytest.raises(InputError, match="the signature is not right"):
                verified(changed)
    comment = lines[2].replace(b"1.1", b"1.2")
    assert comment != lines[2]
    with pytest.raises(InputError, match="the signature is not right"):
        verified([*lines[:2], comment, *lines[3:]])


def test_another_publisher(ours: minisign.SecretKey, keys: Path, tmp_path: Path) -> None:
    theirs = _secret(keys, "theirs")
    path = handmade.write(tmp_path / "x.tar.gz", handmade.content(theirs))
    assert verify(path).key == signing.key_id(theirs.get_public_key())
    with pytest.raises(InputError, match="the signature is not right: it is by the key"):
        verify(path, ours.get_public_key())
    # Our key laid beside their signature, and the other way round.
    files = handmade.content(ours)
    mixed = handmade.signed(
        {name: data for name, data in files.items() if not name.startswith("SHA256SUMS")}, theirs
    )
    path = handmade.write(tmp_path / "y.tar.gz", mixed)
    for key in (None, ours.get_public_key()):
        with pytest.raises(InputError, match="the signature is not right"):
            verify(path, key)


@pytest.mark.parametrize("data", [None, b"no key"])
def test_signed_without_a_key_in_it(
    ours: minisign.SecretKey, tmp_path: Path, data: bytes | None
) -> None:
    files = {
        name: each
        for name, each in handmade.content(ours).items()
        if name != "publisher.pub" and not name.startswith("SHA256SUMS")
    }
    if data is not None:
        files["publisher.pub"] = data
    path = handmade.write(tmp_path / "x.tar.gz", handmade.signed(files, ours))
    with pytest.raises(InputError, match=r"is signed, and holds no publisher\.pub"):
        verify(path)
    assert verify(path, ours.get_public_key()).pinned


def test_what_is_no_whole_archive(ours: minisign.SecretKey, tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "x.tar.gz", handmade.content(ours))
    data = path.read_bytes()
    # Down to gzip's last byte, which is behind everything that tar reads.
    for size in (len(data) - 1, len(data) - 8, len(data) // 2, 20):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"x\.tar\.gz: is no \.tar\.gz, or was cut short"):
            verify(path)
    # gzip's own sum, behind everything else.
    path.write_bytes(data[:-8] + bytes(byte ^ 1 for byte in data[-8:-4]) + data[-4:])
    with pytest.raises(InputError, match=r"x\.tar\.gz: is no \.tar\.gz, or was cut short"):
        verify(path)
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"is no \.tar\.gz"):
        verify(path)
    with pytest.raises(InputError, match="there is no such bundle"):
        verify(tmp_path / "none.tar.gz")
