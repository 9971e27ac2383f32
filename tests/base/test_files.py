from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tvmkd.base import files
from tvmkd.base.errors import InputError


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "very" / "deep" / "a.json"
    files.write_json(path, {"a": [1, "ä"]})
    assert path.read_text(encoding="utf-8") == '{\n  "a": [\n    1,\n    "\\u00e4"\n  ]\n}\n'
    files.write_text(path, "ä\n")
    assert path.read_bytes() == b"\xc3\xa4\n"
    files.write_bytes(path, b"\0")
    assert path.read_bytes() == b"\0"
    assert listed(path.parent) == ["a.json"]


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a", "x")
    finally:
        os.umask(umask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_block_that_fails_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with files.draft(path, ".npz") as written:
            assert written.parent == path.parent
            assert written.name.endswith(".npz")
            written.write_text("half of")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_text() == "old"
    assert listed(tmp_path) == ["a"]


def test_the_content_is_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "a", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(os.fstat(descriptor).st_size))
    with files.draft(path) as written:
        written.write_text("four")
    assert seen == [4]


def test_a_write_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    files.write_text(tmp_path / "a", "x")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "a: the disk is full; free some space"),
        (errno.EDQUOT, "a: the disk is full; free some space"),
        (errno.EIO, "a: cannot be written: Input/output error; give another path"),
    ],
)
def test_a_disk_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fails(_: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(InputError) as caught:
        files.write_text(path, "new")
    assert str(caught.value).startswith(f"{tmp_path}/{said}")
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert listed(tmp_path) == ["a"]


@pytest.mark.parametrize("below", ["a", "deep/a"])
def test_a_file_where_a_folder_is_needed_is_one_line(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / below
    with pytest.raises(InputError, match=rf"^{path}: cannot be written: (Not a dir|File exists)"):
        files.write_text(path, "new")
    assert listed(tmp_path) == ["file"]


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=r"/a: is a folder, and is not replaced"):
        files.write_text(tmp_path / "a", "new")
    assert listed(tmp_path) == ["a"]


def a_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # the length of its path is limited


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a pipe"),
        (a_socket, "a socket"),
        (a_device, "a device"),
        (Path.mkdir, "a folder"),
        (lambda path: path.symlink_to("real"), "a symbolic link"),
        (lambda path: path.symlink_to("gone"), "a symbolic link"),
    ],
)
def test_what_is_no_file_of_its_own_is_not_replaced(
    tmp_path: Path, make: Callable[[Path], object], kind: str
) -> None:
    (tmp_path / "real").write_text("real")
    make(tmp_path / "a")
    before = (tmp_path / "a").lstat()
    for write in (
        lambda: files.write_text(tmp_path / "a", "new"),
        lambda: files.check_output(tmp_path / "a"),
    ):
        with pytest.raises(InputError, match=rf"/a: is {kind}, and is not replaced; give another"):
            write()
    after = (tmp_path / "a").lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert (tmp_path / "real").read_text() == "real"
    assert listed(tmp_path) == ["a", "real"]


def test_a_write_protected_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    files.check_output(path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for all but root
    with pytest.raises(InputError, match=r"/a: is write-protected; .* chmod u\+w /.*/a$"):
        files.write_text(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("name", ["new", "very/deep/new"])
def test_an_output_that_can_be_written_leaves_no_trace(
    tmp_path: Path, folder: bool, replaced: bool, name: str
) -> None:
    files.check_output(tmp_path / name, folder=folder, replaced=replaced)
    assert listed(tmp_path) == []


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize(
    "path", ["file/new", "file/deep/new", "gone-link/new", "/proc/new", "/proc/deep/new", "n" * 300]
)
def test_an_output_that_cannot_be_written_is_found_before_work(
    tmp_path: Path, folder: bool, path: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "gone-link").symlink_to("gone")
    with pytest.raises(InputError, match=r"cannot be written: .*; give another path") as caught:
        files.check_output(tmp_path / path, folder=folder)
    assert "\n" not in str(caught.value)
    assert listed(tmp_path) == ["file", "gone-link"]


def test_a_folder_that_is_written_into_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    files.check_output(tmp_path / "link", folder=True)
    with pytest.raises(InputError, match="link: is a symbolic link, and is not replaced"):
        files.check_output(tmp_path / "link", folder=True, replaced=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file, and a folder is needed"):
        files.check_output(tmp_path / "file", folder=True)


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    def copy() -> None:
        with files.draft(tmp_path / "a") as written:
            written.write_bytes((tmp_path / "source").read_bytes())

    with pytest.raises(FileNotFoundError, match="source"):
        copy()
    assert listed(tmp_path) == []


def test_keys_differ_by_everything_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        files.key("tune", trials=1),
        files.key("tune", trials=2),
        files.key("build", trials=1),
        files.key("tune", trials=1, onnx="x"),
        files.key("tune", trials="1"),
    }
    monkeypatch.setattr(files, "__version__", "another")
    keys.add(files.key("tune", trials=1))
    assert len(keys) == 6


def test_keys_are_the_same_in_any_order() -> None:
    assert files.key("tune", a=1, b=2) == files.key("tune", b=2, a=1)
    assert files.key("tune", a=Path("x")) == files.key("tune", a="x")


def test_a_folder_s_hash_changes_with_names_and_content_but_not_with_hidden_files(
    tmp_path: Path,
) -> None:
    def made(name: str, **content: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        for file, text in content.items():
            (folder / file).write_text(text)
        return files.file_hash(folder)

    first = made("first", a="1", b="2")
    assert made("same", b="2", a="1") == first
    assert made("named", a="1", c="2") != first
    assert made("changed", a="1", b="3") != first
    assert made("moved", a="12", b="") != first
    (tmp_path / "first" / "sub").mkdir()
    (tmp_path / "first" / "sub" / "c").write_text("3")
    assert files.file_hash(tmp_path / "first") != first
    (tmp_path / "first" / "sub" / "c").unlink()
    (tmp_path / "first" / ".lock").write_text("pid")
    assert files.file_hash(tmp_path / "first") == first


def test_a_file_s_hash_is_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    assert files.file_hash(tmp_path / "a") != files.file_hash(tmp_path / "b")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "empty").write_bytes(b"")
    assert files.sha256(tmp_path / "empty") == empty
    data = bytes(range(256)) * (3 << 12) + b"x"  # more than one chunk
    (tmp_path / "large").write_bytes(data)
    assert files.sha256(tmp_path / "large") == hashlib.sha256(data).hexdigest()


def test_a_data_folder_s_listing_changes_with_sizes_and_times(tmp_path: Path) -> None:
    image = tmp_path / "data" / "cat" / "1.png"
    image.parent.mkdir(parents=True)
    image.write_text("1")
    first = files.listing_hash(tmp_path / "data")
    os.utime(image, ns=(1, 1))
    second = files.listing_hash(tmp_path / "data")
    image.write_text("12")
    os.utime(image, ns=(1, 1))
    third = files.listing_hash(tmp_path / "data")
    image.rename(image.with_name("2.png"))
    fourth = files.listing_hash(tmp_path / "data")
    assert len({first, second, third, fourth, None}) == 5
    assert files.listing_hash(tmp_path / "none") is None
    assert files.listing_hash(None) is None


def test_names_that_are_no_utf8_and_a_byte_order_mark(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data" / name / name).touch()
    assert files.listing_hash(tmp_path / "data")
    assert files.file_hash(tmp_path / "data")
    files.write_text(tmp_path / "text", name)
    assert (tmp_path / "text").read_bytes() == b"caf\xe9"
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfabc")
    assert files.read_text(tmp_path / "text") == "abc"


def test_a_linked_folder_counts_and_a_hidden_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "more")
    before = files.listing_hash(tmp_path / "data")
    (tmp_path / "data" / ".cache").mkdir()
    (tmp_path / "data" / ".cache" / "a").touch()
    assert files.listing_hash(tmp_path / "data") == before
    (tmp_path / "more" / "a").touch()
    assert files.listing_hash(tmp_path / "data") != before


def test_only_the_user_s_own_code_has_a_source_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, work = tmp_path / "code", tmp_path / "work"
    (code / "package" / "sub").mkdir(parents=True)
    work.mkdir()
    monkeypatch.chdir(work)
    (code / "mine.py").write_text("1")
    (code / "package" / "sub" / "__init__.py").write_text("2")
    assert files.source_hash("mine:net") is None
    found = files.source_hash("mine:net", [code])
    assert found == files.file_hash(code / "mine.py")
    inside = files.source_hash("package.sub:net", [code])
    assert inside == files.file_hash(code / "package" / "sub" / "__init__.py")
    (work / "mine.py").write_text("3")
    assert files.source_hash("mine:net", [code]) == files.file_hash(work / "mine.py")
    (work / "torchvision.py").write_text("4")
    assert files.source_hash("torchvision:resnet18", [code]) is None
    assert files.source_hash("mine", [code]) is None
