"""Which compilers are for which GPU, with packages that are made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError, MissingError
from tvmkd.runtime import cuda_toolkit
from tvmkd.runtime.cuda_toolkit import capability, toolkit


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    found = {"nvidia.cuda_nvrtc", "nvidia.cuda_nvcc", "nvidia.cu13"}

    def installed(package: str, inside: str) -> Path:
        if package not in found:
            raise MissingError(f"{package}/{inside} is not installed: pip install apache-tvm")
        return Path(package, inside)

    monkeypatch.setattr(cuda_toolkit, "installed", installed)
    toolkit.cache_clear()
    yield found
    toolkit.cache_clear()


def test_the_newest_release_that_knows_the_gpu(packages: set[str]) -> None:
    found = [toolkit(arch).major for arch in ("sm_53", "sm_72", "sm_75", "sm_87", "sm_90a")]
    assert found == [12, 12, 13, 13, 13]
    assert toolkit("sm_87").ptxas == Path("nvidia.cu13/bin/ptxas")
    assert toolkit("sm_87").includes == (Path("nvidia.cu13/include"),)
    # Without nvidia.cuda_runtime there are no headers for half precision.
    assert toolkit("sm_53").includes == (Path("nvidia.cuda_nvcc/include"),)


def test_the_older_release_stands_in_for_one_that_is_not_there(packages: set[str]) -> None:
    packages.remove("nvidia.cu13")
    assert toolkit("sm_120").major == 12


@pytest.mark.parametrize("arch", ["sm_53", "sm_87"])
def test_without_the_wheels_the_message_says_how_to_install_them(
    arch: str, packages: set[str]
) -> None:
    packages -= {"nvidia.cuda_nvcc", "nvidia.cu13"}
    said = rf"for {arch} with \(nvidia.cuda_nvcc/bin/ptxas\): pip install 'tvmkd\[cuda\]'"
    with pytest.raises(MissingError, match=said):
        toolkit(arch)


def test_what_is_no_gpu() -> None:
    assert [capability(arch) for arch in ("sm_53", "sm_103a")] == [53, 103]
    with pytest.raises(InputError, match='arch "ampere": wants a compute capability such as sm_87'):
        capability("ampere")
