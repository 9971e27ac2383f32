"""Opens sessions of ONNX Runtime, in one way for every caller."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError, MissingError

if TYPE_CHECKING:
    import onnxruntime

CPU = "CPUExecutionProvider"
# Levels of ONNX Runtime's log. What it logs as an error it also raises, providers excepted.
ERROR, FATAL = 3, 4


class Unloadable(InputError):
    """ONNX Runtime cannot load a model. ``reason`` is its own message."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: ONNX Runtime cannot load it: {reason}")
        self.reason = reason


def package() -> Any:
    """The module ``onnxruntime``.

    Raises:
        MissingError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("onnxruntime is not installed: pip install onnxruntime") from None
    return onnxruntime


def open_session(
    model: Path | bytes,
    name: str = "",
    *,
    threads: int = 0,
    optimize: bool = True,
    exact: bool = False,
    spin: bool = True,
    weights: Path | None = None,
    providers: Sequence[str | tuple[str, dict[str, Any]]] = (CPU,),
    log_level: int = FATAL,
    written: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Opens a session, which runs one operator at a time.

    Args:
        model: an ONNX file, or its bytes.
        name: the model's name in messages; by default the file's.
        threads: threads of one operator; 0: one for each physical core.
        optimize: False leaves the graph as it is in the file.
        exact: sum products of bytes exactly, where there is a way. Otherwise, on x86 CPUs with AVX2
            only, sums of two products of uint8 and int8 stop at 16 bits. Needs ``optimize``.
        spin: whether idle threads spin while they wait for work.
        weights: the folder of external weights, for a model given as bytes.
        providers: execution providers, the preferred one first, each with or without options.
        log_level: `ERROR` or `FATAL`.
        written: write the graph there, after optimisations that keep to ONNX's operators (the basic
            level; no others are done).

    Raises:
        MissingError: ONNX Runtime is not installed.
        Unloadable: ONNX Runtime refuses the model (an InputError).
    """
    onnxruntime = package()
    source = model if isinstance(model, bytes) else str(model)
    more: dict[str, Any] = {"providers": list(providers)}
    if written is not None:
        # It calls tensors "gemm_input_shape", and fails where one has that name: in its own output.
        more["disabled_optimizers"] = ["MatMulAddFusion"]
    reason = ""
    for precise in (True, False) if exact else (False,):  # some operators have no exact form
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = log_level
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        elif written is not None:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
            options.optimized_model_filepath = str(written)
            options.add_session_config_entry("session.disable_prepacking", "1")  # it never runs
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
        if weights is not None:
            folder = "session.model_external_initializers_file_folder_path"
            options.add_session_config_entry(folder, str(weights.resolve()))
        if precise:
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            return onnxruntime.InferenceSession(source, options, **more)
        except Exception as error:  # its exceptions have no common base class
            reason = plain(error)
    shown = name or ("the model" if isinstance(model, bytes) else str(model))
    raise Unloadable(shown, reason)


def run_within(
    session: onnxruntime.InferenceSession, feed: Mapping[str, Any], seconds: float | None
) -> list[Any]:
    """All outputs for ``feed``; a run that takes longer is ended, since a loop may be endless.

    Args:
        seconds: the limit; None: there is none.

    Raises:
        TimeoutError: it took longer.
    """
    options = package().RunOptions()
    timer = threading.Timer(seconds or 0.0, setattr, (options, "terminate", True))
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        outputs: list[Any] = session.run(None, dict(feed), options)
        return outputs
    except Exception as error:
        if options.terminate:
            raise TimeoutError(f"ONNX Runtime was ended after {seconds:.0f} s") from error
        raise
    finally:
        timer.cancel()


def plain(error: BaseException) -> str:
    """An error of ONNX Runtime without codes and places of its sources, in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^Load model from \S+ failed:\s*", "", text)
    text = re.sub(_RUNNING, _at_node, text)
    text = re.sub(_PLACE, "", text)
    # The cause often stands at the end.
    return text if len(text) <= 160 else f"{text[:70]}...{text[-87:]}"


# A file of its sources, the line, and the function with the types of its arguments.
_PLACE = (
    r"\S*\w\.(?:cc|h|cpp|hpp):\d+ "
    r"(?:(?:[\w:&<>,~*]+ )*?[\w:<>~]+\([^)]*\)(?:::<lambda\(\)>)?(?: const)?(?: \[[^]]*\])? |\w+ )?"
)
_RUNNING = (
    r"^Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: "
)


def _at_node(found: re.Match[str]) -> str:
    operator, name = found.groups()
    return f"{operator} (node {name!r}): " if name else f"{operator}: "


def numpy_dtype(kind: str) -> str:
    """numpy's name of an element type as ONNX Runtime writes it: ``tensor(float)`` is float32."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
