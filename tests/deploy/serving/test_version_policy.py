"""Triton's version policies: which versions they choose, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_models import fault_of

from tvmkd.deploy.serving import version_policy

VERSIONS = {"1.9": "a", "1.10": "b", "2.0": "c"}


def config(policy: Any) -> dict[str, str]:
    return {"config": json.dumps({"version_policy": policy, "platform": "any"})}


def chosen(parameters: dict[str, Any]) -> list[str]:
    found = version_policy.chosen(VERSIONS, version_policy.read(parameters))
    assert all(VERSIONS[version] == folder for version, folder in found.items())
    return list(found)


@pytest.mark.parametrize(
    ("parameters", "loaded"),
    [
        ({}, ["2.0"]),
        (config({"latest": {}}), ["2.0"]),
        (config({"latest": {"num_versions": 2}}), ["1.10", "2.0"]),
        (config({"latest": {"num_versions": 9}}), ["1.9", "1.10", "2.0"]),
        (config({"all": {}}), ["1.9", "1.10", "2.0"]),
        (config({"specific": {"versions": ["2.0", "1.9"]}}), ["1.9", "2.0"]),
        (config({"specific": {"versions": [1.9, "1.9"]}}), ["1.9"]),
    ],
)
def test_a_policy_chooses_versions(parameters: dict[str, Any], loaded: list[str]) -> None:
    assert chosen(parameters) == loaded


@pytest.mark.parametrize(
    "parameters",
    [
        config({"newest": {}}),
        config({"latest": {"num_versions": 0}}),
        config({"latest": {"num_versions": -1}}),
        config({"latest": {"num_versions": True}}),
        config({"latest": {"num_versions": 1.5}}),
        config({"latest": 3}),
        config({"specific": {"versions": []}}),
        config({"specific": {"versions": "1.9"}}),
        config({"specific": {}}),
        config({"specific": "1.9"}),
        config({"latest": {}, "all": {}}),
        config({}),
        config([]),
        config(None),
        {"config": "{"},
        {"config": "[" * 100_000},
        {"config": "[1]"},
        {"config": 7},
        {"config": "{}"},
        {"file:1/model.so": "x"},
        {"config": "{}", "more": 1},
    ],
)
def test_a_wrong_policy(parameters: dict[str, Any]) -> None:
    fault = fault_of(chosen, parameters)
    assert fault.status == 400
    assert len(fault.message) < 200


def test_a_version_that_is_not_there_is_named() -> None:
    fault = fault_of(chosen, config({"specific": {"versions": ["1.9", "7", "8"]}}))
    assert fault.message == "there is no version 7, 8 (versions: 1.9, 1.10, 2.0)"
