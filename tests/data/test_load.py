from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from tvmkd import config, data
from tvmkd.base.errors import InputError


def test_the_config_says_which(tmp_path):
    assert len(data.load(config.Data(image_size=8)).classes) == 10
    for name in "ab":
        (tmp_path / name).mkdir()
        for index in range(5):
            Image.new("L", (9, 9), index).save(tmp_path / name / f"{index}.png")
    found = data.load(config.Data(dataset="folder", path=tmp_path, image_size=8))
    assert found.classes == ("a", "b")
    assert found.augment == data.load(config.Data()).augment


def test_a_folder_needs_a_path():
    with pytest.raises(InputError, match="needs a path"):
        config.parse({"project": {"name": "x"}, "data": {"dataset": "folder"}})


def test_a_folder_of_images_does_not_import_scikit_learn():
    code = "import sys, tvmkd.data.folder; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
