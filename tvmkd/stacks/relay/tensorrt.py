"""TensorRT in Relay: which regions of a module it takes, and the library that gives it them.

Upstream's own partitioning for TensorRT (its BYOC, "bring your own codegen") decides. It needs a
TVM built with TensorRT's code generator only to *compile* a region, so that what TensorRT would
take of a model can be said with any TVM that has Relay.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import tvm
from tvm import relay
from tvm.relay.op.contrib import tensorrt

from tvmkd.base.errors import MissingError

Version = tuple[int, int, int]

VERSION: Version = (8, 2, 0)  # of JetPack 4.6, where the target file does not say it
COMPILER = "tensorrt"
NO_CONVERSION = "TVM cannot convert it to TensorRT"
NO_MATCH = "its arguments do not fit the pattern that TVM looks for"
_CONVOLUTIONS = {"nn.conv1d", "nn.conv2d", "nn.conv3d"}
_TRANSPOSED = {"nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose"}
_PRODUCTS = {"nn.dense", "nn.matmul", "nn.batch_matmul"}


def available() -> str | None:
    """None where this TVM generates code for TensorRT, else one line: why not, what to build."""
    # Not by "relay.ext.tensorrt": nothing of that name is registered since TVM 0.10.
    if tensorrt.is_tensorrt_compiler_enabled():
        return None
    return (
        f"this TVM {tvm.__version__} is built without TensorRT; build TVM 0.18 or 0.19 with "
        "-DUSE_LLVM=ON -DUSE_CUDA=ON -DUSE_TENSORRT_CODEGEN=ON here (it needs no TensorRT) and "
        "with -DUSE_CUDA=ON -DUSE_TENSORRT_RUNTIME=<TensorRT root> where it runs (Jetson Nano, "
        "JetPack 4.6: TensorRT 8.2, CUDA 10.2), then set TVMKD_RELAY_PYTHON to its Python"
    )


def check_available() -> None:
    """Makes sure that regions for TensorRT can be compiled here.

    Raises:
        MissingError: they cannot; says what to build.
    """
    reason = available()
    if reason is not None:
        raise MissingError(reason)


def version_of(target: Mapping[str, Any]) -> Version:
    """The TensorRT of a tvmkd target (``Target.to_dict()``); ``VERSION`` where it names none."""
    text = (target.get("cuda") or {}).get("tensorrt")
    if not text:
        return VERSION
    major, minor, patch = [*map(int, str(text).split(".")), 0, 0][:3]
    return major, minor, patch


def options(version: Version, fp16: bool) -> dict[str, Any]:
    """The attributes of upstream's ``tensorrt`` target that decide what TensorRT takes."""
    return {
        "tensorrt_version": list(version),
        # Upstream's default leaves every addition of a scalar in TVM, as in hard swish: 29 regions
        # of MobileNetV3-small in place of one. It is for batches of any size; here it is fixed.
        "use_implicit_batch": False,
        "remove_no_mac_subgraphs": False,
        "use_fp16": fp16,
    }


class _Assumed:
    """Stands in for a target of the kind ``tensorrt``, which exists only with its codegen."""

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self.attrs = attrs

    def __enter__(self) -> _Assumed:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _assuming(attrs: Mapping[str, Any]) -> Iterator[_Assumed]:
    """Lets upstream's checks read ``attrs`` and believe that there is a codegen."""
    target = _Assumed(attrs)
    replaced = {
        "get_tensorrt_target": lambda: target,
        "is_tensorrt_compiler_enabled": lambda: True,
    }
    before = {name: getattr(tensorrt, name) for name in replaced}
    try:
        for name, function in replaced.items():
            setattr(tensorrt, name, function)
        yield target
    finally:
        for name, function in before.items():
            setattr(tensorrt, name, function)


def tensorrt_target(version: Version = VERSION, fp16: bool = False) -> tvm.target.Target:
    """Upstream's target of the kind ``tensorrt``; there is one only where `available` is None."""
    return tvm.target.Target({"kind": COMPILER, **options(version, fp16)})


def partition(mod: tvm.IRModule, version: Version = VERSION, fp16: bool = False) -> tvm.IRModule:
    """The module with the regions that TensorRT takes as functions of their own.

    It is upstream's ``partition_for_tensorrt`` of TVM 0.10 to 0.19, everywhere.

    Args:
        mod: weights as constants; stays as it is.
        version: of TensorRT; it decides which operators there are.
        fp16: let TensorRT compute in half precision, and take tensors of it.
    """
    # From level 3 on layouts are converted: models from ONNX have TensorRT's already, and every
    # nn.bias_add would become a plain addition, which hides from TensorRT that it is a bias.
    with tvm.transform.PassContext(opt_level=2):
        if available() is None:
            return tensorrt.partition_for_tensorrt(mod, target=tensorrt_target(version, fp16))
        with _assuming(options(version, fp16)) as target:
            return tensorrt.partition_for_tensorrt(mod, target=target)


def compile_with(
    mod: tvm.IRModule, target: tvm.target.Target, version: Version = VERSION, fp16: bool = False
) -> Any:
    """A library of the module whose regions TensorRT runs, and whose rest runs TOPI's schedules.

    Never run so far, for want of a TVM with TensorRT's code generator: written after the sources
    and tests of TVM 0.18, and tested only up to the arguments of ``relay.build``. The board's TVM
    runtime has to be built with ``USE_TENSORRT_RUNTIME``; the first inference there builds the
    engines (``TVM_TENSORRT_CACHE_DIR`` keeps them).

    Args:
        mod: weights as constants, not partitioned.
        target: for what stays in TVM; a CPU's will do, regions copy their inputs themselves.
        version: of the board's TensorRT.
        fp16: let TensorRT compute in half precision.

    Raises:
        MissingError: this TVM has no code generator for TensorRT; says what to build.
    """
    check_available()
    regions = partition(mod, version, fp16)
    # The second one, so that the regions are compiled with the options they were chosen by.
    targets = [target, tensorrt_target(version, fp16)]
    with tvm.transform.PassContext(opt_level=3):
        return relay.build(regions, target=targets)


def coverage(mod: tvm.IRModule, version: Version = VERSION, fp16: bool = False) -> dict[str, Any]:
    """What TensorRT takes of a module, what it leaves to TVM, and why.

    Args:
        mod: weights as constants, not partitioned.
        version: of TensorRT.
        fp16: let TensorRT compute in half precision.

    Returns:
        ``{"version", "regions", "operators", "offloaded", "left", "mac_share"}``: how many
        operators there are in all; how many of each name TensorRT takes; ``{"name", "count",
        "reasons"}`` of those that stay; the share of multiply-accumulates that TensorRT takes,
        None where there are none.
    """
    with _listening() as said:
        parts = partition(mod, version, fp16)
    inside: list[relay.Call] = []
    outside: list[relay.Call] = []
    regions = 0
    for variable in parts.get_global_vars():
        function = parts[variable]
        region = function.attrs is not None and function.attrs["Compiler"] == COMPILER
        regions += region
        (inside if region else outside).extend(_calls(function))
    taken, left = _counts(inside), _counts(outside)
    macs, others = sum(map(macs_of, inside)), sum(map(macs_of, outside))
    return {
        "version": ".".join(map(str, version)),
        "regions": regions,
        "operators": len(inside) + len(outside),
        "offloaded": taken,
        "left": [
            {"name": name, "count": count, "reasons": _reasons(name, said)}
            for name, count in left.items()
        ],
        "mac_share": macs / (macs + others) if macs + others else None,
    }


@contextlib.contextmanager
def _listening() -> Iterator[dict[str, list[str]]]:
    """What upstream's checks say of operators, by name; its word on a whole region is at
    ``tensorrt``."""
    said: dict[str, list[str]] = {}

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            name, _, reason = record.getMessage().partition(": ")
            if reason not in ("", "Predicate passes") and reason not in said.setdefault(name, []):
                said[name].append(reason)

    logger, listener = tensorrt.logger, Listener()
    before = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(listener)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _reasons(name: str, said: Mapping[str, list[str]]) -> list[str]:
    """Why operators of that name stay in TVM."""
    if name in said:
        return said[name]
    if name not in {row[0].removeprefix("tensorrt.") for row in tensorrt.pattern_table()}:
        return [NO_CONVERSION]
    return said.get(COMPILER) or [NO_MATCH]


def _calls(function: relay.Function) -> list[relay.Call]:
    """The operators that a function calls, those inside of its composite functions too."""
    found: list[relay.Call] = []

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op):
            found.append(node)

    relay.analysis.post_order_visit(function.body, visit)
    return found


def _counts(calls: list[relay.Call]) -> dict[str, int]:
    """How many operators of each name, the most frequent first."""
    found = Counter(str(call.op.name) for call in calls)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def macs_of(call: relay.Call) -> int:
    """The multiply-accumulates of an operator: of convolutions and products of matrices.

    Upstream's ``get_total_mac_number`` leaves out 1-D and 3-D convolutions, fails on a dense layer
    of more than two axes, and takes every batched product's right side as transposed.
    """
    kind = call.op.name
    if kind not in _CONVOLUTIONS | _TRANSPOSED | _PRODUCTS:
        return 0
    data, weight = (_sizes(argument.checked_type) for argument in call.args[:2])
    result = _sizes(call.checked_type)
    if kind in _CONVOLUTIONS:
        layout = call.attrs.out_layout or call.attrs.data_layout
        return prod(result) * prod(weight) // max(1, result[str(layout).index("C")])
    if kind in _TRANSPOSED:
        return prod(data) * prod(weight) // max(1, data[str(call.attrs.data_layout).index("C")])
    turned = kind != "nn.dense" and bool(call.attrs.transpose_a)
    return prod(result) * data[-2 if turned else -1]


def _sizes(kind: relay.TensorType) -> list[int]:
    """A tensor's shape; 0 for a size that depends on the data."""
    return [int(size) if isinstance(size, tvm.tir.IntImm) else 0 for size in kind.shape]
