from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.files import file_hash
from tvmkd.data.detection.materials import SPLITS, materials
from tvmkd.data.detection.scenes import QUALITY, Recipe, draw_scene, load_scenes, write_scenes

SMALL = Recipe(train=5, val=2, test=3, size=96)


def test_what_is_drawn_is_what_is_read(tmp_path):
    splits = load_scenes(tmp_path / "scenes", SMALL)
    assert splits.classes == tuple("0123456789")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [5, 2, 3]
    for split, images in zip(SPLITS, (splits.train, splits.val, splits.test), strict=True):
        stock = materials(split)
        for number in range(len(images)):
            drawn = draw_scene(SMALL, split, number, stock)
            image, target = images[number]
            assert target["boxes"].tolist() == drawn.boxes.tolist()
            assert target["labels"].tolist() == (drawn.digits + 1).tolist()
            assert target["difficult"].tolist() == drawn.difficult.tolist()
            stored = io.BytesIO()
            Image.fromarray(drawn.pixels).save(stored, "jpeg", quality=QUALITY)
            pixels = (image * 255).permute(1, 2, 0).numpy().round()
            assert np.array_equal(pixels, np.asarray(Image.open(stored)))


def test_the_same_recipe_gives_the_same_bytes(tmp_path):
    first, again = (write_scenes(tmp_path / name, SMALL) for name in ("a", "b"))
    assert file_hash(first) == file_hash(again)
    other = write_scenes(tmp_path / "c", Recipe(train=5, val=2, test=3, size=96, seed=1))
    assert file_hash(other) != file_hash(first)
    hashes = {load_scenes(tmp_path / name, SMALL).sha256 for name in ("a", "b")}
    assert len(hashes) == 1


def test_a_longer_set_begins_with_the_shorter_one(tmp_path):
    short = write_scenes(tmp_path / "short", Recipe(train=2, val=1, test=1, size=96))
    long = write_scenes(tmp_path / "long", SMALL)
    for path in sorted(short.rglob("*.jpg")):
        assert path.read_bytes() == (long / path.relative_to(short)).read_bytes()


def test_no_digit_is_in_the_scenes_of_two_splits():
    used = []
    for split in SPLITS:
        stock = materials(split)
        drawn = [draw_scene(SMALL, split, number, stock) for number in range(20)]
        used.append({int(index) for scene in drawn for index in scene.indices})
    assert min(map(len, used)) > 20
    assert len(set.union(*used)) == sum(map(len, used))


def test_scenes_of_two_splits_differ_though_their_numbers_do_not():
    stock = materials("train")
    first, other = (draw_scene(SMALL, split, 0, stock) for split in ("train", "test"))
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_second_call_draws_nothing(tmp_path):
    folder = write_scenes(tmp_path / "scenes", SMALL)
    image = folder / "JPEGImages" / "train_00000.jpg"
    Image.new("RGB", (96, 96)).save(image)
    before = image.read_bytes()
    assert write_scenes(folder, SMALL) == folder
    assert image.read_bytes() == before


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tvmkd.data.detection.scenes.write_json", fail)
    with pytest.raises(OSError, match="No space"):
        write_scenes(tmp_path / "scenes", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_something_else_is_left_alone(tmp_path):
    folder = write_scenes(tmp_path / "scenes", SMALL)
    with pytest.raises(InputError, match="holds scenes of another recipe"):
        write_scenes(folder, Recipe(train=4, val=2, test=3, size=96))
    marker = json.loads((folder / "scenes.json").read_text())
    (folder / "scenes.json").write_text(json.dumps(marker | {"version": 0}))
    with pytest.raises(InputError, match="holds scenes of another recipe"):
        write_scenes(folder, SMALL)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("text")
    for path in (mine, mine / "thesis.txt"):
        with pytest.raises(InputError, match="is there already and is not a set of scenes"):
            write_scenes(path, SMALL)
    assert (mine / "thesis.txt").read_text() == "text"
    (tmp_path / "empty").mkdir()
    assert len(load_scenes(tmp_path / "empty", SMALL).classes) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 0}, "at least one in each"),
        ({"size": 32}, "size has to be 64 to 4096 pixels, not 32"),
        ({"seed": -1}, "seed has to be 0 or more"),
    ],
)
def test_recipes_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        Recipe(**options)
