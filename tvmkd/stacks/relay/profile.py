"""Times the kernels of an artifact of the relay stack, one by one."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.contrib.debugger.debug_executor import GraphModuleDebug

from tvmkd import artifact
from tvmkd.base.errors import InputError
from tvmkd.base.given_inputs import real_samples
from tvmkd.base.random_inputs import random_sample


def profile(folder: Path, inputs: Path | None, repeats: int) -> list[dict[str, Any]]:
    """Times an artifact's kernels.

    Args:
        inputs: an ``.npz`` of real inputs; else seeded random ones.
        repeats: of each kernel.

    Returns:
        see :meth:`tvmkd.stacks.client.StackClient.profile`.
    """
    manifest, path = artifact.read_with_library(folder)
    artifact.check_machine(manifest, folder)
    specs = [spec.model_dump() for spec in manifest.inputs]
    samples = real_samples(inputs, specs, 1) or [random_sample(np.random.default_rng(0), specs)]
    library = tvm.runtime.load_module(str(path))
    if library.type_key == "VMExecutable":
        raise InputError(
            f"{folder}: a virtual machine runs it, since its shapes depend on the data; only a "
            "graph executor's kernels can be timed one by one"
        )
    graph = library["get_graph_json"]()
    device = tvm.cpu()
    create = library["debug_create"]
    module = GraphModuleDebug(create("default", device), [device], graph, None)
    for name, value in samples[0].items():
        module.set_input(name, tvm.nd.array(value))
    times = module.run_individual(number=1, repeat=repeats, min_repeat_ms=0)
    known = manifest.coverage.get("kernels", {})
    kernels = [node for node in json.loads(graph)["nodes"] if node["op"] == "tvm_op"]
    timed = [seconds for seconds in times if any(seconds)]
    spent: dict[str, list[float]] = defaultdict(list)
    places: dict[str, list[int]] = defaultdict(list)
    for number, (node, seconds) in enumerate(zip(kernels, timed, strict=True)):
        name = node["attrs"]["func_name"]
        spent[name].append(1e6 * float(np.median(seconds)))
        places[name].append(number)
    total = sum(map(sum, spent.values())) or 1.0
    rows = []
    for name, each in spent.items():
        facts = known.get(name, {})
        row = {
            "kernel": name,
            "task_key": facts.get("key"),
            "calls": len(each),
            "us": sum(each),
            "share": sum(each) / total,
            "places": places[name],
            "kind": facts.get("kind"),
            "flop": facts.get("flop"),
        }
        if facts.get("flop"):
            row["gflops"] = facts["flop"] * len(each) / row["us"] / 1e3
        rows.append(row)
    return sorted(rows, key=lambda row: -float(row["us"]))
