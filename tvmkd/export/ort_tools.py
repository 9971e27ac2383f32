"""Makes ONNX Runtime's model tools importable wherever they are asked for."""

from __future__ import annotations

import sys
from pathlib import Path


def importable() -> None:
    """Has Python find what ``onnxruntime.transformers`` and ``.quantization`` import by bare names.

    The package puts its own folder on ``sys.path`` when it is first imported; who restores the path
    afterwards, as our search for a user's models may, takes it off again.
    """
    import onnxruntime

    folder = str(Path(onnxruntime.__file__).parent / "transformers")
    if folder not in sys.path:
        sys.path.append(folder)
