"""Finds the installed Python packages of TensorRT, and what their generation supports.

The API differs between generations, from 8.2 (JetPack 4.6) to 11. Code tests for a feature with
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
"""For each product its module, its name in messages, and how to get it."""


@dataclass(frozen=True)
class Bindings:
    """The Python package of TensorRT or TensorRT-RTX, of any generation.

    Attributes:
        module: ``tensorrt`` or ``tensorrt_rtx``.
        product: which of the two it is; their engines and their timings are never mixed.
        version: the module's version, for example ``8.2.1.8``.
    """

    module: Any
    product: Product
    version: str

    @property
    def title(self) -> str:
        """The name in messages, for example ``TensorRT-RTX 1.7.1.116``."""
        return f"{PRODUCTS[self.product][1]} {self.version}"

    @property
    def log(self) -> Log:
        """The package's logger: TensorRT uses one in a process and ignores any other."""
        return log_of(self.module)

    def flag(self, name: str) -> Any:
        """The builder flag of that name; None in a generation without it."""
        return getattr(self.module.BuilderFlag, name, None)

    @property
    def calibrates(self) -> bool:
        """Whether INT8 calibration is supported; else the ONNX file has to be quantised."""
        return (
            hasattr(self.module, "IInt8EntropyCalibrator2")
            and hasattr(self.module.IBuilderConfig, "int8_calibrator")
            and self.flag("INT8") is not None
        )

    @property
    def crosses(self) -> bool:
        """Whether it can build for a given compute capability, without a GPU."""
        return hasattr(self.module.IBuilderConfig, "set_compute_capability")

    def creation_flags(self) -> int:
        """The flags for ``create_network``: explicit batch, in generations that have the flag."""
        explicit = getattr(self.module.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        return 0 if explicit is None else 1 << int(explicit)


def find(product: str) -> Bindings:
    """Imports the package of a product.

    Args:
        product: a key of `PRODUCTS`.

    Raises:
        MissingError: it is not installed, or cannot be imported; says how to get it.
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
        # Python takes a folder of that name, such as NVIDIA's sources, for a package.
        raise MissingError(f"{title} is not installed ({name} is only a folder here); {how}")
    if module.__name__ != name or not hasattr(module, "Builder"):
        raise MissingError(f"the module {name} is not {title}'s ({module.__name__}); {how}")
    # The keys of PRODUCTS are the Literal's values, which mypy cannot see.
    return Bindings(module, product, str(module.__version__))  # type: ignore[arg-type]


def _broken(title: str, error: Exception, how: str) -> MissingError:
    text = " ".join(str(error).split())
    return MissingError(f"{title} is installed but does not load ({text[:200]}); {how}")
