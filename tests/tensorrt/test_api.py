from __future__ import annotations

import sys
import types

import pytest
from build_fakes import FLAGGED, GENERATIONS, Generation

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt import api


@pytest.mark.parametrize("name", GENERATIONS)
def test_features_of_each_generation(name: str) -> None:
    bindings = Generation(name).bindings
    assert bindings.calibrates == (name in FLAGGED)
    assert (bindings.flag("FP16") is not None) == (name in FLAGGED)
    assert bindings.crosses == (name == "rtx")
    assert bindings.creation_flags() == (1 if name in FLAGGED else 0)


@pytest.mark.parametrize(("product", "module"), [("tensorrt", "8.6"), ("tensorrt-rtx", "rtx")])
def test_a_package_is_found_and_keeps_its_name(
    product: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Generation(module).module
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    found = api.find(product)
    assert (found.product, found.version) == (product, fake.__version__)
    assert found.title == f"{'TensorRT-RTX' if module == 'rtx' else 'TensorRT'} {fake.__version__}"


@pytest.mark.parametrize(
    ("product", "how"), [("tensorrt", "JetPack"), ("tensorrt-rtx", r"tvmkd\[tensorrt-rtx\]")]
)
def test_a_missing_package_says_how_to_get_it(
    product: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, api.PRODUCTS[product][0], None)
    with pytest.raises(MissingError, match=f"is not installed .*{how}"):
        api.find(product)


def test_a_folder_of_that_name_is_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))
    with pytest.raises(MissingError, match="is only a folder here"):
        api.find("tensorrt")


def test_rtx_under_the_other_name_is_not_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", Generation("rtx").module)
    with pytest.raises(MissingError, match="the module tensorrt is not TensorRT's"):
        api.find("tensorrt")


def test_a_package_with_a_missing_library_names_it(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("raise OSError('libtensorrt_rtx.so.1: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    with pytest.raises(MissingError, match=r"does not load \(libtensorrt_rtx\.so\.1: cannot open"):
        api.find("tensorrt-rtx")
