"""The benchmark of random networks and damaged files: its generators, and a few cases of each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import by_path
import numpy as np
import onnx
import onnxruntime
import pytest

sys.path.append(str(by_path.ROOT / "benchmarks"))  # it imports what all benchmarks share
fuzz: Any = by_path.module("benchmarks/bench_fuzz.py", "benchmark_of_random_networks")
random_networks: Any = fuzz.random_networks


def test_a_seed_gives_the_same_network_of_ten_to_forty_operators() -> None:
    first, again, other = (random_networks.model(random_networks.network(s)) for s in (3, 3, 4))
    assert first == again
    assert first != other
    counts = [len(random_networks.network(seed).nodes) for seed in range(30)]
    assert min(counts) >= 10
    assert max(counts) <= 42


def test_networks_are_valid_and_their_shapes_are_those_of_onnx_runtime() -> None:
    nets = [random_networks.network(seed, f"n{seed}_") for seed in range(20)]
    model = random_networks.model(*nets)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    rng = np.random.default_rng(0)
    feed = {e.name: rng.standard_normal(e.shape).astype(np.float32) for e in session.get_inputs()}
    for entry, found in zip(session.get_outputs(), session.run(None, feed), strict=True):
        assert tuple(entry.shape) == found.shape
    operators = {node.op_type for node in model.graph.node}
    assert len(operators) > 40


def test_twenty_networks_are_right() -> None:
    found = fuzz.networks(list(range(100, 120)), "relax", tell=lambda line: None)
    assert set(found.values()) == {"right"}, found


def test_damaged_files_differ_and_some_can_still_be_parsed() -> None:
    texts = [fuzz.damaged(seed) for seed in range(40)]
    assert len(set(texts)) == 40
    parsed = 0
    for text in texts:
        try:
            onnx.ModelProto().ParseFromString(text)
            parsed += 1
        except Exception:  # protobuf's own class
            continue
    assert 0 < parsed < 40


def test_damaged_files_are_refused_in_one_line() -> None:
    assert fuzz.files(300) == []


def test_a_file_that_is_not_refused_well_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "reader.py"
    script.write_text(
        "import sys\nstart, count = map(int, sys.argv[2:])\n"
        "for seed in range(start, start + count):\n"
        "    print('seed', seed, file=sys.stderr)\n    assert seed not in (2, 5)\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(script))
    assert [line.split(":")[0] for line in fuzz.files(8)] == ["file 2", "file 5"]
