"""Prepares this process for ONNX Runtime's model tools."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path


def importable() -> None:
    """Lets Python find what ``onnxruntime.transformers`` and ``.quantization`` import.

    They import each other by bare names. The package adds its own folder to ``sys.path`` when it
    is first imported; code that restores ``sys.path`` later, as our search for a user's models
    does, removes it again.
    """
    import onnxruntime

    folder = str(Path(onnxruntime.__file__).parent / "transformers")
    if folder not in sys.path:
        sys.path.append(folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Turns off Python's warnings and log messages below ERROR; restores both at the end.

    The tools warn of every small weight that becomes zero. The comparison that follows decides.
    """
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
