from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from tars import picture, write

from tvmkd.base.errors import InputError
from tvmkd.data import tar_index
from tvmkd.data.tar_index import index


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_pictures_are_found_with_their_labels(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        {
            "x/0.png": picture(1),
            "x/0.cls": "3\n",
            "y/0.JPG": picture(2, "JPEG"),
            "y/0.txt": " big cat ",
            "1.left.png": picture(3),
            "1.json": '{"label": "dog", "id": 4}',
            "2.txt": "7",
            "2.json": '{"label": 9}',
            "2.webp": picture(4, "WEBP"),
        },
    )
    found = index(path)
    labels = {item.name: label for item, label in found.samples}
    assert labels == {"x/0.png": 3, "y/0.JPG": "big cat", "1.left.png": "dog", "2.webp": 7}
    assert [item.read() for item, _ in found.samples][:2] == [picture(1), picture(2, "JPEG")]
    assert found.samples[0][0].path == path / "x" / "0.png"
    assert not found.others


def test_what_is_no_picture_is_counted_and_never_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        {
            "0.png": picture(1),
            "0.cls": "1",
            "0.pyd": b"\x80\x04cos\nsystem\n",
            "0.pickle": b"",
            "0.seg.npy": b"",
            "0.back.png": picture(2),
            "1.png": picture(1),
            "2.cls": "1",
            "._0.png": b"",
            "README": "",
        },
    )
    found = index(path)
    assert [item.name for item, _ in found.samples] == ["0.png"]
    assert found.others == {
        ".pyd": 1,
        ".pickle": 1,
        ".npy": 1,
        "images of samples that have another": 1,
        "images without a label (.cls, .txt or .json)": 1,
        "labels without an image": 1,
        "files without an ending": 1,
    }


def test_links_and_folders_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"0.png": picture(1), "0.cls": "1"})
    with tarfile.open(path, "a") as tar:
        for name, kind in (("1.png", tarfile.SYMTYPE), ("2.png", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert len(index(path).samples) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("0.cls", b"\xff\xfe", "0.cls: is no text"),
        ("0.cls", b"", "0.cls: holds no label"),
        ("0.json", b"{", "0.json: "),
        ("0.json", b'{"caption": "x"}', "0.json: holds no label; .* under cls, label"),
        ("0.json", b'{"label": true}', "holds no label"),
        ("0.json", b"[" * 100_000, "0.json: "),
        ("0.txt", b"a" * (1 << 20) + b"a", "0.txt: is too large for a label"),
    ],
)
def test_labels_that_cannot_be_read_name_their_member(tmp_path, name, content, message) -> None:
    path = write(tmp_path / "a.tar", {"0.png": picture(1), name: content})
    with pytest.raises(InputError, match=message) as caught:
        index(path)
    assert str(caught.value).startswith(str(path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_a_tar_that_is_cut_short_is_told(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "a.tar", {"0.cls": "1", "0.png": os.urandom(20_000)})
    os.truncate(path, int(22_000 * keep))
    with pytest.raises(InputError, match=r"a\.tar: cannot be read as a tar: .*end"):
        index(path)


def test_a_header_that_is_damaged_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"0.png": picture(1), "0.cls": "1", "1.png": picture(2)})
    data = bytearray(path.read_bytes())
    place = data.index(b"1.png")
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.tar: .*: the header at byte {place} is damaged"):
        index(path)


def test_the_picture_is_the_one_with_the_plain_ending(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        {"x.y/0.depth.png": picture(1), "x.y/0.jpg": picture(2, "JPEG"), "x.y/0.cls": "1"},
    )
    ((item, _),) = index(path).samples
    assert item.name == "x.y/0.jpg"


def test_what_is_no_tar_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(os.urandom(4000))
    with pytest.raises(InputError, match=r"a\.tar: cannot be read as a tar"):
        index(tmp_path / "a.tar")


def test_a_tar_that_became_shorter_is_an_unreadable_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"0.png": picture(1), "0.cls": "1"})
    ((item, _),) = index(path).samples
    os.truncate(path, item.offset + 3)
    with pytest.raises(OSError, match="the tar ends before"):
        item.read()


def test_an_index_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tar", {"0.png": picture(1), "0.cls": "1", "0.pyd": b""})
    other = write(tmp_path / "b.tar", {"0.png": picture(2), "0.cls": "cat"})
    made = []
    monkeypatch.setattr(tar_index, "index", lambda shard: made.append(shard) or index(shard))
    first = tar_index.read_all([path, other])
    assert [shard.samples[0][1] for shard in first] == [1, "cat"]
    again = tar_index.read_all([path, other])
    assert again == first
    assert sorted(made) == [path, other]
    write(path, {"0.png": picture(1), "0.cls": "2"})
    changed = tar_index.read_all([path, other])
    assert [shard.samples[0][1] for shard in changed] == [2, "cat"]
    assert made[2:] == [path]


@pytest.mark.parametrize("text", ["", "{}", '{"facts": 1}', "[]"])
def test_a_damaged_index_is_made_anew(tmp_path: Path, cache: Path, text: str) -> None:
    path = write(tmp_path / "a.tar", {"0.png": picture(1), "0.cls": "1"})
    first = tar_index.read_all([path])
    (file,) = cache.rglob("*.json")
    file.write_text(text)
    assert tar_index.read_all([path]) == first
