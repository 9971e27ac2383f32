from __future__ import annotations

import re

import tvmkd
from tvmkd.base import version


def test_the_package_has_the_version_of_the_lowest_room() -> None:
    assert tvmkd.__version__ == version.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version.__version__)
