#!/usr/bin/env python
"""ONNX's own node tests through `tvmkd build`: how many are right, and how the others end.

Each plain test (those named ``_expanded`` are left out: 1,404 in onnx 1.23) is a model of one
operator with inputs and expected outputs. Its first input stays an input; the others become
constants, as parameters are in networks. A test is

- right: the artifact gives the expected outputs, with their dtypes and shapes ("by ONNX Runtime"
  counts those of them whose operator it runs inside the library, because TVM lacks it);
- refused: one line that names the file, and exit code 4 or 5;
- unclear: any other refusal;
- as ONNX Runtime: the artifact's outputs are not those expected, but those that ONNX Runtime gives,
  with which tvmkd compares every build;
- wrong: an artifact with other outputs;
- crashed or hung: the compiler or the artifact did.

The peer is onnx itself: the ratio is the share of its tests.
"""

from __future__ import annotations

import collections
import functools
import random
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _common import Result, finish, parser
from onnx import numpy_helper

from tvmkd import targets
from tvmkd.base.errors import TvmkdError, WorkerDied
from tvmkd.base.onnx_runtime import open_session
from tvmkd.base.text import first_line
from tvmkd.stacks.compile import build

BAR = 1150 / 1404
TOLERANCE = {2: 2e-2, 4: 1e-3, 8: 1e-5}
OTHER, ALIKE = "by ONNX Runtime", "as ONNX Runtime"
ENDS = ("right", "refused", ALIKE, "unclear", "wrong", "crashed", "hung")


@functools.cache
def cases() -> dict[str, Any]:
    """The plain node tests by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = load_model_tests(kind="node")
    return {test.name: test for test in tests if "_expanded" not in test.name}


def prepared(case: Any) -> tuple[onnx.ModelProto, dict[str, np.ndarray], list[np.ndarray]]:
    """A test's model with its parameters as constants, the inputs left, the expected outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    # Before IR version 4 every constant had to be an input as well.
    model.ir_version = max(model.ir_version, 4)
    inputs, outputs = case.data_sets[0]
    kept, constants = list(model.graph.input[:1]), model.graph.input[1:]
    inputs = [_array(each) for each in inputs]
    arrays = {entry.name: value for entry, value in zip(model.graph.input, inputs, strict=False)}
    for entry in constants:
        value = arrays.pop(entry.name)
        if not isinstance(value, np.ndarray):
            kept.append(entry)
            continue
        tensor = numpy_helper.from_array(value, entry.name)
        model.graph.initializer.append(tensor)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, arrays, list(outputs)


def _array(value: Any) -> Any:
    """Scalars of numpy's types and ONNX's tensors as arrays; sequences and text stay."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def difference(want: Any, got: np.ndarray) -> str | None:
    """How an output differs from the expected one, or None."""
    want = np.asarray(_array(want))
    if want.dtype != got.dtype or want.shape != got.shape:
        return f"{got.dtype}{got.shape}, expected {want.dtype}{want.shape}"
    if want.dtype.kind != "f":
        return None if np.array_equal(want, got) else "other values"
    wanted, found = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(wanted)
    same = np.array_equal(wanted[~finite], found[~finite], equal_nan=True)
    if not same or not np.isfinite(found[finite]).all():
        return "NaN or infinity elsewhere"
    if not finite.any():
        return None
    share = TOLERANCE[want.dtype.itemsize]
    spread = float(np.ptp(wanted[finite]))
    error = np.abs(wanted - found, where=finite, out=np.zeros_like(wanted))
    near = np.minimum(share * spread, 10 * share * np.abs(wanted) + 0.1 * share * spread)
    allowed = np.maximum(1e-6, near) if spread else np.maximum(1e-6, share * np.abs(wanted))
    return None if (error <= allowed)[finite].all() else f"differs by {error.max():.2g}"


def alike(path: Path, arrays: dict[str, np.ndarray], found: list[np.ndarray]) -> bool:
    """Whether ONNX Runtime gives what an artifact gave."""
    try:
        wanted = open_session(path).run(None, arrays)
    except Exception:  # its exceptions have no common base class
        return False
    return all(
        difference(want, np.asarray(got)) is None for want, got in zip(wanted, found, strict=True)
    )


def run(folder: Path, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of an artifact; called in a process that may crash."""
    from tvmkd import artifact

    loaded = artifact.load(folder)
    return list(loaded.run([arrays[spec.name] for spec in loaded.manifest.inputs]))


def judge(case: Any, folder: Path, stack: str, runner: ProcessPoolExecutor) -> tuple[str, str]:
    """How a test ends, and why; of a right one, the engine if it is not TVM."""
    try:
        model, arrays, outputs = prepared(case)
    except (KeyError, TypeError, ValueError) as error:
        return "unclear", f"not prepared: {first_line(error)}"
    path, out = folder / f"{case.name}.onnx", folder / case.name
    onnx.save(model, str(path))
    try:
        made = build(path, targets.load("host"), [], out, shipped=False, stack=stack)
    except WorkerDied as error:
        return "crashed", first_line(error)
    except TvmkdError as error:
        text = str(error)
        hung = "no sign of life" in text
        clear = (
            error.exit_code in (4, 5) and "\n" not in text and len(text) <= 300 + len(str(folder))
        )
        clear = clear and path.name in text
        if " signal SIG" in text:  # of the compiler, on one operator
            return "crashed", text
        return "hung" if hung else "refused" if clear else "unclear", text
    except Exception as error:  # a bug of tvmkd: that is what is looked for
        return "unclear", f"{type(error).__name__}: {first_line(error)}"
    try:
        found = runner.submit(run, out, arrays).result(timeout=120)
    except BrokenProcessPool:
        return "crashed", "the artifact crashed"
    except Exception as error:
        return "wrong", first_line(error)
    for number, (want, got) in enumerate(zip(outputs, found, strict=True)):
        why = difference(want, np.asarray(got))
        if why is not None:
            end = ALIKE if alike(path, arrays, found) else "wrong"
            return end, f"output {number}: {why}"
    return "right", OTHER if (made["coverage"].get("byoc") or {}).get("regions") else ""


def measure(names: list[str], stack: str, tell: Any = print) -> list[dict[str, str]]:
    """Runs the named tests; returns each one's operator, end and reason."""
    from tvmkd.stacks import worker_pool

    every, rows = cases(), []
    with tempfile.TemporaryDirectory() as folder, worker_pool.shared():
        runner = ProcessPoolExecutor(1)
        for number, name in enumerate(names):
            end, why = judge(every[name], Path(folder), stack, runner)
            if end == "crashed":
                runner.shutdown(wait=False)
                runner = ProcessPoolExecutor(1)
            operator = every[name].model.graph.node[0].op_type
            rows.append({"name": name, "operator": operator, "end": end, "why": why})
            tell(f"{number + 1}/{len(names)} {name}: {end} {why[:160]}")
        runner.shutdown()
    return rows


def table(rows: list[dict[str, str]]) -> str:
    """The ends by operator, in Markdown, those operators first that are not all right."""
    by_operator: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in rows:
        by_operator[row["operator"]][row["end"]] += 1
        by_operator[row["operator"]][OTHER] += row["why"] == OTHER
    heads = ("right", OTHER, *ENDS[1:])
    lines = [f"| operator | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    order = sorted(
        by_operator, key=lambda name: (set(+by_operator[name]) <= {"right", OTHER}, name)
    )
    lines += [f"| {name} | {_counts(by_operator[name])} |" for name in order]
    return "\n".join(lines)


def _counts(ends: collections.Counter[str]) -> str:
    return " | ".join(str(ends[end] or "") for end in ("right", OTHER, *ENDS[1:]))


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("names", nargs="*", help="these tests only")
    options.add_argument("--sample", type=int, metavar="N", help="N tests, drawn with --seed")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--stack", default="relax")
    args = options.parse_args()
    names = args.names or sorted(cases())
    if args.sample:
        names = sorted(random.Random(args.seed).sample(names, min(args.sample, len(names))))
    rows = measure(names, args.stack)
    count = collections.Counter(row["end"] for row in rows)
    print(table(rows))
    others = sum(row["why"] == OTHER for row in rows)
    print(", ".join(f"{count[end]} {end}" for end in ENDS if count[end]), f"({others} {OTHER})")
    bad = sum(count[end] for end in ("wrong", "crashed", "hung", "unclear"))
    results = [
        Result("node tests right, tvmkd over onnx", count["right"] / len(rows), BAR, "higher"),
        Result("wrong, crashed, hung or unclear", bad / len(rows), 0.0),
    ]
    return finish(results, args.json, tests=rows, count=dict(count))


if __name__ == "__main__":
    sys.exit(main())
