from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        return picture.size


def test_the_digits_without_a_config(tvmkd: Any, tmp_path: Path) -> None:
    out = tmp_path / "preview.png"
    done = tvmkd("data", "preview", "-o", out)
    assert done.code == 0, done.err
    assert done.out == f"{out}: 10 rows of 8 images\n"
    width, height = size(out)
    assert width > 8 * 96
    assert height > 10 * 96


def test_the_config_says_which_images_and_effects(tvmkd: Any, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(5):
            picture = Image.new("RGB", (40, 40), (200, 40 * index, 90))
            picture.save(tmp_path / "pictures" / name / f"{index}.png")
    file = tmp_path / "tvmkd.toml"
    file.write_text(
        f'[project]\nname = "a"\n[data]\ndataset = "folder"\npath = "{tmp_path / "pictures"}"\n'
        'augment = "camera"\n[data.camera]\neffects = ["motion", "white_balance"]\n',
        encoding="utf-8",
    )
    plain, worst = tmp_path / "plain.png", tmp_path / "worst.png"
    done = tvmkd("data", "preview", "--config", file, "-o", plain)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{plain}: 4 rows of ")
    done = tvmkd("data", "preview", "--config", file, "--severity", 5, "--seed", 7, "-o", worst)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{worst}: 10 rows of ")
    assert size(plain)[0] == size(worst)[0]


def test_a_mistake_is_one_line(tvmkd: Any, tmp_path: Path) -> None:
    done = tvmkd("data", "preview", "-o", tmp_path)
    assert (done.code, done.line) == (
        4,
        f"{tmp_path}: is a folder, and is not replaced; give another path",
    )
    done = tvmkd("data", "preview", "-o", "/dev/null/preview.png")
    assert done.code == 4
    assert done.line.startswith("/dev/null/preview.png: cannot be written: ")
    gone = tmp_path / "gone.toml"
    done = tvmkd("data", "preview", "--config", gone, "-o", tmp_path / "x.png")
    assert (done.code, done.line) == (4, f"{gone}: there is no such file; give --config FILE")
    assert tvmkd("data", "preview", "--severity", "6", "-o", tmp_path / "x.png").code == 2
    assert tvmkd("data", "preview").code == 2
    done = tvmkd("data", "previeww")
    assert (done.code, 'did you mean "preview"?' in done.err) == (2, True)
    assert not list(tmp_path.iterdir())
