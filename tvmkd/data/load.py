"""Loads the data set of a config's ``[data]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvmkd.base.errors import InputError
from tvmkd.data.splits import Splits

if TYPE_CHECKING:
    from tvmkd.config import Data


def load(cfg: Data) -> Splits:
    """Loads the data set selected by ``[data]``; the same config gives the same splits.

    Raises:
        InputError: the folder has no images, no classes, or an unreadable image; or it is a
            detection set.
        MissingError: the data set needs a package of the extra ``data``.
    """
    if cfg.detection:
        raise InputError(
            f'[data] dataset = "{cfg.dataset}" has boxes, and this takes images of one class each: '
            "digits, folder, webdataset or huggingface"
        )
    if cfg.dataset == "digits":
        from tvmkd.data.digits import load_digits

        return load_digits(cfg)
    if cfg.dataset == "webdataset":
        from tvmkd.data.webdataset import load_webdataset

        return load_webdataset(cfg)
    if cfg.dataset == "huggingface":
        from tvmkd.data.huggingface import load_huggingface

        return load_huggingface(cfg)
    from tvmkd.data.folder import load_folder

    return load_folder(cfg)
