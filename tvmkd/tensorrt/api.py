"""The Python packages of TensorRT: which are installed, and what a generation of them has.

Generations from 8.2 (JetPack 4.6) to 11 differ in what is there, so everything here asks with
``hasattr`` and never compares versions.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt.log import Log, log_of

Product = Literal["tensorrt", "tensorrt-rtx"]

PRODUCTS: dict[str, tuple[str, str, str]] = {
    "tensorrt": (
        "tensorrt",
        "TensorRT",
        (
            "on a Jetson it comes with JetPack; elsewhere: pip install 'tvmkd[tensorrt]' "
            "--extra-index-url https://pypi.nvidia.com"
        ),
    ),
    "tensorrt-rtx": ("tensorrt_rtx", "TensorRT-RTX", "pip install 'tvmkd[tensorrt-rtx]'"),
}
"""Each product's module, its name in sentences, and how to get it."""


@dataclass(frozen=True)
class Bindings:
    """One TensorRT-like Python package, whatever its generation.

    Attributes:
        module: ``tensorrt`` or ``tensorrt_rtx``.
        product: which of the two it is; their engines and their numbers are never mixed.
        version: as the module gives it, ``8.2.1.8``.
    """

    module: Any
    product: Product
    version: str

    @property
    def title(self) -> str:
        """For sentences: ``TensorRT-RTX 1.7.1.116``."""
        return f"{PRODUCTS[self.product][1]} {self.version}"

    @property
    def log(self) -> Log:
        """The logger of this package: TensorRT takes one a process and ignores any other."""
        return log_of(self.module)

    def flag(self, name: str) -> Any:
        """The builder's flag of that name, None in a generation without it."""
        return getattr(self.module.BuilderFlag, name, None)

    @property
    def calibrates(self) -> bool:
        """Whether INT8 can come from a calibrator; else it has to be in the ONNX file."""
        return (
            hasattr(self.module, "IInt8EntropyCalibrator2")
            and hasattr(self.module.IBuilderConfig, "int8_calibrator")
            and self.flag("INT8") is not None
        )

    @property
    def crosses(self) -> bool:
        """Whether it builds for a compute capability by name, without a GPU."""
        return hasattr(self.module.IBuilderConfig, "set_compute_capability")

    def creation_flags(self) -> int:
        """What ``create_network`` takes: explicit batch where that is still a choice."""
        explicit = getattr(self.module.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        return 0 if explicit is None else 1 << int(explicit)


def find(product: str) -> Bindings:
    """The package of a product, imported now.

    Raises:
        MissingError: it is not installed, or does not load; says how to get it.
    """
    name, title, how = PRODUCTS[product]
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(title, error, how) from None
        raise MissingError(f"{title} is not installed ({name}); {how}") from None
    except (ImportError, OSError, RuntimeError) as error:
        raise _broken(title, error, how) from None
    if getattr(module, "__file__", None) is None:
        # A folder of that name, NVIDIA's sources say, that Python takes for a package.
        raise MissingError(f"{title} is not installed ({name} is only a folder here); {how}")
    if module.__name__ != name or not hasattr(module, "Builder"):
        raise MissingError(f"the module {name} is not {title}'s ({module.__name__}); {how}")
    # Literal from a table of literals, which mypy cannot follow.
    return Bindings(module, product, str(module.__version__))  # type: ignore[arg-type]


def _broken(title: str, error: Exception, how: str) -> MissingError:
    text = " ".join(str(error).split())
    return MissingError(f"{title} is installed but does not load ({text[:200]}); {how}")
