"""Measures all that a profile shows, one thing after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_format

from tvmkd import artifact as artifacts
from tvmkd.base import files, machine
from tvmkd.base.errors import InputError
from tvmkd.base.given_inputs import real_samples
from tvmkd.base.manifest import Manifest
from tvmkd.base.random_inputs import random_sample
from tvmkd.bench import node_times, roofline
from tvmkd.bench.kernel_profile import KernelProfile, profile
from tvmkd.stacks.compile import kernel_times


def measure(
    onnx: Path, artifact: Path, inputs: Path | None, runs: int
) -> tuple[KernelProfile, list[dict[str, Any]]]:
    """Profiles an artifact and, with the same input, ONNX Runtime.

    Args:
        onnx: the model that the artifact was built from.
        artifact: its folder.
        inputs: an ``.npz`` of real inputs; None: random ones.
        runs: timed runs.

    Returns:
        the profile, and ONNX Runtime's nodes.

    Raises:
        InputError: the artifact is of another model.
        TvmkdError: the artifact cannot run here, or there is no C compiler.
    """
    manifest = artifacts.read(artifact)
    model = made_of(onnx, artifact, manifest)
    specs = [spec.model_dump() for spec in manifest.inputs]
    real = real_samples(inputs, specs, most=1)
    sample = real[0] if real else random_sample(np.random.default_rng(0), specs)
    threads = machine.physical_cores()
    rows = kernel_times(artifact, inputs, onnx=onnx, repeats=runs)
    limits = roofline.measure(threads)
    peers = node_times.measure(onnx, sample, threads, runs)
    outputs = {node.name or node.output[0]: list(node.output) for node in model.graph.node}
    return profile(onnx, artifact, rows, peers, outputs, limits), peers


def made_of(onnx: Path, artifact: Path, manifest: Manifest) -> onnx_format.ModelProto:
    """Reads the model that an artifact was built from, without external weights.

    Raises:
        InputError: it was not.
    """
    model = onnx_format.load(str(onnx), load_external_data=False)
    inputs_of_file = {each.name for each in model.graph.input}
    if not {spec.name for spec in manifest.inputs} <= inputs_of_file:
        raise InputError(
            f"{artifact}: built from another model than {onnx}, whose inputs have other names; "
            "build it again, or leave out --artifact"
        )
    if files.sha256(onnx) != manifest.onnx_sha256:
        raise InputError(
            f"{artifact}: built from another file than {onnx} (the SHA-256 differs); build it "
            "again, or leave out --artifact"
        )
    return model
