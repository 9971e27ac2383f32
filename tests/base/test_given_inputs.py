"""An ``.npz`` of real inputs: cut into samples, and refused in one line if it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.base.given_inputs import real_samples

X = {"name": "x", "shape": [2, 3], "dtype": "float32"}
Y = {"name": "y", "shape": [1], "dtype": "int64"}
SCALAR = {"name": "rate", "shape": [], "dtype": "int64"}


def stored(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def floats(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(("rows", "samples"), [(2, 1), (3, 1), (4, 2), (5, 2), (40, 8)])
def test_they_are_cut_to_whole_batches_and_at_most_eight(
    rows: int, samples: int, tmp_path: Path
) -> None:
    x = floats(rows, 3)
    found = real_samples(stored(tmp_path / "r.npz", x=x), [X])
    assert len(found) == samples
    for number, sample in enumerate(found):
        np.testing.assert_array_equal(sample["x"], x[2 * number : 2 * number + 2])
    assert len(real_samples(tmp_path / "r.npz", [X], most=1)) == 1


def test_the_input_with_the_fewest_samples_ends_them(tmp_path: Path) -> None:
    path = stored(tmp_path / "r.npz", x=floats(8, 3), y=np.array([5, 6, 7]))
    found = real_samples(path, [X, Y])
    assert [sample["y"].tolist() for sample in found] == [[5], [6], [7]]
    assert set(found[0]) == {"x", "y"}


@pytest.mark.parametrize("array", [np.array(16000), np.array([16000])])
def test_an_input_without_axes_takes_a_number_or_one_a_sample(
    array: np.ndarray, tmp_path: Path
) -> None:
    (sample,) = real_samples(stored(tmp_path / "r.npz", rate=array), [SCALAR])
    assert (sample["rate"].shape, int(sample["rate"])) == ((), 16000)


def test_without_a_file_there_are_no_samples() -> None:
    assert real_samples(None, [X]) == []


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"z": floats(2, 3)}, "no array x; the model's inputs are x"),
        ({"x": floats(2, 3), "z": floats(1)}, "z is no input"),
        ({"x": floats(2, 3).astype(np.float64)}, r'"x" is float64, the model takes float32'),
        ({"x": floats(2, 4)}, r'"x" has shape \[2, 4\], the model takes \[2, 3\]'),
        ({"x": floats(6)}, r'"x" has shape \[6\]'),
        ({"x": np.float32(1)}, r'"x" has shape \[\]'),
        ({"x": floats(1, 3)}, r'"x" has shape \[1, 3\]'),
        ({"x": floats(0, 3)}, r'"x" has shape \[0, 3\]'),
        ({"x": np.array([{}], object)}, "not an .npz of plain arrays"),
        ({}, "no array x"),
    ],
)
def test_what_does_not_fit_is_refused(arrays, what: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "r.npz", **arrays)
    with pytest.raises(InputError, match=what) as caught:
        real_samples(path, [X])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    junk, array = tmp_path / "junk.npz", tmp_path / "one.npy"
    junk.write_bytes(b"PK\x03\x04 not a zip")
    (tmp_path / "text.npz").write_text("x = 1\n")
    with pytest.raises(InputError) as refused:
        real_samples(tmp_path / "text.npz", [X])
    assert "not an .npz" in str(refused.value)
    assert "pickle" not in str(refused.value)
    np.save(array, floats(2, 3))
    for path, what in ((junk, "not an .npz"), (array, "one array"), (tmp_path / "a", "no such")):
        with pytest.raises(InputError, match=what):
            real_samples(path, [X])
