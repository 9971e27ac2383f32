from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tvmkd import config, data
from tvmkd.base.errors import InputError
from tvmkd.data import preview
from tvmkd.data.camera import Camera


@pytest.fixture(scope="module")
def digits():
    return data.load(config.Data())


def tiles(path, rows: int, columns: int) -> np.ndarray:
    """The pictures of a grid of 32 x 32 images: ``[rows, columns, 32, 32]``."""
    sheet = np.asarray(Image.open(path).convert("L"))
    side = 96 + preview.GAP
    top, left = preview.LINE + preview.GAP, preview.MARGIN
    cells = sheet[top:, left:].reshape(rows, side, columns, side).swapaxes(1, 2)
    return cells[:, :, 1:96:3, 1:96:3]


def test_a_row_for_each_effect_and_one_for_all(tmp_path, digits):
    path = tmp_path / "made" / "preview.png"
    assert preview.save(path, digits, Camera()) == (10, 8)
    found = tiles(path, 10, 8).astype(int)
    picks = torch.linspace(0, len(digits.train.labels) - 1, 8).round().long()
    facts = digits.preprocessing
    pixels = digits.train.get(picks) * facts["std"][0] + facts["mean"][0]
    assert np.abs(found[0] - (pixels[:, 0] * 255).round().numpy()).max() <= 1
    changed = [np.abs(row - found[0]).max() > 1 for row in found]
    # Gray has no white balance.
    assert changed == [row not in (0, 5) for row in range(10)]


def test_the_seed_is_what_it_depends_on(tmp_path, digits):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        preview.save(tmp_path / name, digits, Camera(effects=("skew",)), seed)
    first, same, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == same
    assert first != other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize(("side", "cell"), [(7, 91), (100, 100), (1024, 256)])
def test_images_of_every_size(side, cell):
    rows = [
        (["original"], torch.rand(2, 3, side, side)),
        (["a", "b"], torch.rand(2, 3, side, side)),
    ]
    sheet = preview.draw(rows, ["cat", "a name that is far too long for its column"])
    assert sheet.size == (
        preview.MARGIN + 2 * (cell + preview.GAP),
        preview.LINE + preview.GAP + 2 * (cell + preview.GAP),
    )


def test_a_place_that_cannot_be_written_is_said(tmp_path, digits):
    (tmp_path / "file").write_text("")
    camera = Camera(effects=())
    with pytest.raises(InputError, match=r"preview.png: cannot be written: (Not a dir|File ex)"):
        preview.save(tmp_path / "file" / "preview.png", digits, camera)
    with pytest.raises(InputError, match="cannot be written: it is a folder"):
        preview.save(tmp_path, digits, camera)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not list(tmp_path.parent.glob(".*.tmp"))
