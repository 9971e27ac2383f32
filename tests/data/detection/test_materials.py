from __future__ import annotations

import numpy as np

from tvmkd.data.detection.materials import SPLITS, crop, materials


def test_no_scan_is_in_two_splits():
    stocks = [materials(split) for split in SPLITS]
    everything = np.concatenate([stock.indices for stock in stocks])
    assert sorted(everything.tolist()) == list(range(1797))
    assert [len(stock.scans) for stock in stocks] == [256, 341, 1200]
    for stock in stocks:
        assert stock.scans.shape[1:] == (8, 8)
        assert stock.scans.max() == 255
        assert set(stock.digits.tolist()) == set(range(10))


def test_no_pixel_of_a_photograph_is_in_two_splits():
    """Each pixel of these photographs is of a colour of its own."""

    def numbered(name: str) -> np.ndarray:
        numbers = np.arange(427 * 640, dtype=np.uint32) + (300_000 if name == "flower.jpg" else 0)
        return (
            np.stack([numbers >> 16, numbers >> 8, numbers], 1)
            .astype(np.uint8)
            .reshape(427, 640, 3)
        )

    owned = []
    for split in SPLITS:
        regions = materials(split, numbered).regions
        assert len(regions) == 2
        pixels = np.concatenate([region.reshape(-1, 3) for region in regions]).astype(np.int64)
        owned.append(set((pixels @ [65536, 256, 1]).tolist()))
    assert min(map(len, owned)) > 2 * 160 * 300
    assert len(set.union(*owned)) == sum(map(len, owned))


def test_a_crop_is_all_of_one_region():
    regions = (np.zeros((200, 100, 3), np.uint8), np.full((90, 120, 3), 255, np.uint8))
    for seed in range(20):
        pixels = crop(regions, 32, np.random.default_rng(seed))
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.float32
        assert 0 <= pixels.min() <= pixels.max() <= 255
        assert np.ptp(pixels.reshape(-1, 3), axis=0).max() < 1, "a flat region stays flat"


def test_a_crop_is_the_same_for_the_same_seed():
    regions = materials("val").regions
    first, again, other = (crop(regions, 48, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
