from __future__ import annotations

import torch

from tvmkd import config, data
from tvmkd.data.digits import TEST, TRAIN, VAL, split_indices


def test_the_split_is_fixed_and_has_no_image_twice():
    first, other = (data.load(config.Data(split_seed=seed)) for seed in (0, 7))
    assert (len(first.train.labels), len(first.val.labels), len(first.test.labels)) == (
        TRAIN,
        VAL,
        TEST,
    )
    assert TRAIN + VAL + TEST == 1797
    assert first.sha256 == other.sha256
    parts = [
        part.get(torch.arange(len(part.labels))) for part in (first.train, first.val, first.test)
    ]
    everything = torch.cat(parts).flatten(1)
    # scikit-learn's set holds no duplicates, so a picture in two splits would show here.
    assert len(torch.unique(everything, dim=0)) == 1797
    for part in (first.train, first.val, first.test):
        counts = torch.bincount(part.labels, minlength=10)
        assert counts.min() > 0.85 * counts.float().mean()


def test_images_are_normalised_and_of_the_size_asked_for():
    splits = data.load(config.Data(image_size=24))
    assert splits.shape == (1, 1, 24, 24)
    images = splits.test.get(torch.arange(TEST))
    assert images.dtype == torch.float32
    assert abs(float(images.mean())) < 0.1
    assert 0.8 < float(images.std()) < 1.2
    assert splits.sha256 != data.load(config.Data()).sha256
    assert splits.classes == tuple("0123456789")


def test_real_inputs_for_checks():
    sample = data.load(config.Data()).sample(5)
    assert sample.shape == (5, 1, 32, 32)
    assert sample.dtype == "float32"


def test_indices_are_those_of_the_split():
    from sklearn.datasets import load_digits

    labels = load_digits().target
    splits = data.load(config.Data())
    for name, picks in zip(("train", "val", "test"), split_indices(labels), strict=True):
        assert getattr(splits, name).labels.tolist() == labels[sorted(picks)].tolist()
