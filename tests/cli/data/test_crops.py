from __future__ import annotations

from pathlib import Path
from typing import Any

CONFIG = """
[project]
name = "crops"
[data]
dataset = "scenes"
image_size = 64
scenes = [12, 6, 6]
path = "{folder}"
"""


def test_objects_are_cut_out(tvmkd: Any, tmp_path: Path) -> None:
    config, output = tmp_path / "tvmkd.toml", tmp_path / "crops"
    config.write_text(CONFIG.format(folder=tmp_path / "scenes"))
    done = tvmkd("data", "crops", "--config", config, "-o", output, "--size", 16)
    assert done.code == 0
    count = len(list(output.rglob("*.png")))
    assert f"{output}: {count} images" in done.out
    assert count > 24
    again = tvmkd("data", "crops", "--config", config, "-o", output)
    assert again.code == 4
    assert "is there already" in again.err


def test_images_without_boxes_are_refused(tvmkd: Any, tmp_path: Path) -> None:
    config = tmp_path / "tvmkd.toml"
    config.write_text('[project]\nname = "digits"\n')
    done = tvmkd("data", "crops", "--config", config, "-o", tmp_path / "crops")
    assert done.code == 4
    assert 'dataset = "digits" has no boxes' in done.err
