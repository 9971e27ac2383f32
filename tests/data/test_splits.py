from __future__ import annotations

import threading
from contextlib import closing

import pytest
import torch

from tvmkd.data.splits import Subset, TensorImages, batches, evenly


def test_bytes_and_floats_are_normalised_alike():
    pixels = torch.randint(256, (4, 3, 5, 5), dtype=torch.uint8)
    labels = torch.arange(4)
    mean, std = [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]
    by_bytes = TensorImages(pixels, labels, mean, std).get(torch.tensor([2, 0]))
    floats = TensorImages(pixels / 255, labels, mean, std).get(torch.tensor([2, 0]))
    torch.testing.assert_close(by_bytes, floats, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(floats[0, 1], (pixels[2, 1] / 255 - 0.5) / 0.2, atol=1e-5, rtol=1e-5)


class Slow:
    in_memory = False
    labels = torch.arange(10)

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[int]]] = []

    def get(self, indices: torch.Tensor) -> torch.Tensor:
        self.asked.append((threading.current_thread().name, indices.tolist()))
        return indices.float().view(-1, 1, 1, 1)


def test_decoded_images_come_in_order_ahead_of_time():
    images = Slow()
    order = list(torch.split(torch.randperm(10), 3))
    found = batches(images, order)
    first = next(found)
    got = [first, *found]
    for indices, (pictures, labels) in zip(order, got, strict=True):
        assert pictures.flatten().tolist() == indices.tolist() == labels.tolist()
    assert all(name.startswith("tvmkd-batch") for name, _ in images.asked)
    assert list(batches(images, [])) == []


def test_an_error_while_decoding_reaches_the_caller():
    class Broken(Slow):
        def get(self, indices):
            raise RuntimeError("bad file")

    with pytest.raises(RuntimeError, match="bad file"):
        list(batches(Broken(), [torch.arange(2)]))


def test_images_in_memory_are_changed_ahead_of_time():
    pixels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    images = TensorImages(pixels, torch.arange(10), [0.0], [1.0 / 255])
    order = list(torch.split(torch.randperm(10), 3))
    seen = []

    def change(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(threading.current_thread().name)
        return pictures + len(seen)

    for number, (pictures, labels) in enumerate(batches(images, order, change), start=1):
        assert labels.tolist() == order[number - 1].tolist()
        torch.testing.assert_close(pictures.flatten(), labels.float() + number)
    assert len(seen) == len(order)
    assert all(name.startswith("tvmkd-batch") for name in seen)


def test_a_loop_that_ends_early_leaves_no_thread():
    images = Slow()
    with closing(batches(images, list(torch.split(torch.arange(10), 2)), torch.neg)) as coming:
        next(coming)
    assert not any(thread.name.startswith("tvmkd-batch") for thread in threading.enumerate())


@pytest.mark.parametrize("light", [True, False])
def test_a_light_change_is_made_in_the_callers_thread(light):
    images = TensorImages(torch.zeros(4, 1, 2, 2), torch.arange(4), [0.0], [1.0])
    names = []

    def change(pictures: torch.Tensor) -> torch.Tensor:
        names.append(threading.current_thread().name)
        return pictures + 1

    ((pictures, labels),) = batches(images, [torch.tensor([3, 1])], change, light=light)
    assert (float(pictures.mean()), labels.tolist()) == (1.0, [3, 1])
    assert (names == [threading.current_thread().name]) == light


@pytest.mark.parametrize(
    ("count", "shares"), [(1, [1, 0, 0]), (3, [1, 1, 1]), (5, [2, 2, 1]), (8, [4, 3, 1])]
)
def test_few_images_are_taken_evenly_by_class(count: int, shares: list[int]) -> None:
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 1, 0])
    chosen = evenly(labels, count)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.bincount(labels[chosen], minlength=3).tolist() == shares


def test_few_images_of_a_class_are_evenly_spaced() -> None:
    assert evenly(torch.zeros(9, dtype=torch.int64), 3).tolist() == [0, 4, 8]


def test_a_subset_has_the_images_and_labels_of_its_indices() -> None:
    pixels = torch.arange(5.0).view(5, 1, 1, 1)
    images = TensorImages(pixels, torch.arange(5), [0.0], [1.0])
    few = Subset(images, torch.tensor([1, 4]))
    assert few.labels.tolist() == [1, 4]
    assert few.get(torch.tensor([1, 0, 1])).flatten().tolist() == [4.0, 1.0, 4.0]
    assert few.in_memory
