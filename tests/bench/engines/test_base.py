from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engines_for_tests import Matmul

from tvmkd.base.errors import InputError, MissingError
from tvmkd.bench.engines.base import as_list, size_of
from tvmkd.bench.spec import EngineSpec


def test_results_of_any_shape_become_a_list() -> None:
    array = np.ones(2)
    for result in (array, [array], (array,), {"y": array}):
        (only,) = as_list(result)
        np.testing.assert_array_equal(only, array)
    assert len(as_list((array, array))) == 2


def test_size_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "deep/b").write_bytes(b"123")
    assert size_of(tmp_path / "a") == 5
    assert size_of(tmp_path) == 8


def test_path_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no onnx was given"):
        Matmul(EngineSpec("m", "k"), 1).path()
    with pytest.raises(InputError, match="does not exist"):
        Matmul(EngineSpec("m", "k", tmp_path / "none"), 1).path()
    assert Matmul(EngineSpec("m", "k"), 1).size_bytes() is None


def test_the_first_package_that_is_missing_is_named_with_the_command_for_all() -> None:
    class Needs(Matmul):
        distribution = "numpy no-such-package another"

    engine = Needs(EngineSpec("m", "mine"), 1)
    wanted = "mine needs no-such-package: pip install numpy no-such-package another"
    assert Needs.lacks("mine") == wanted
    with pytest.raises(MissingError, match=wanted):
        engine.require()
    Needs.distribution = "numpy"
    engine.require()
    assert Needs.lacks("mine") is None
