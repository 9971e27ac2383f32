"""Which versions of a model are loaded: Triton's version policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tvmkd.deploy.serving.faults import invalid


def read(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The version policy in the parameters of a load."""
    for key in parameters:
        if key != "config":
            raise invalid(f"parameter {key!r} is not supported; the supported one is 'config'")
    text = parameters.get("config")
    if text is None:
        return {}
    try:
        policy = json.loads(text)["version_policy"]
        if isinstance(policy, dict) and len(policy) == 1:
            return policy
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise invalid(
        'config: expected JSON text such as {"version_policy": {"specific": {"versions": ["1"]}}}'
    )


def chosen(versions: Mapping[str, Any], policy: Mapping[str, Any]) -> Mapping[str, Any]:
    """The versions that a policy names: Triton's ``latest``, ``all`` or ``specific``."""
    names = list(versions)
    kind, value = next(iter(policy.items()), ("latest", {}))
    if kind == "all":
        return versions
    if kind == "latest" and isinstance(value, dict):
        count = value.get("num_versions", 1)
        if type(count) is int and count > 0:
            return {name: versions[name] for name in names[-count:]}
    if kind == "specific" and isinstance(value, dict) and isinstance(value.get("versions"), list):
        wanted = [str(each) for each in value["versions"]]
        gone = [name for name in wanted if name not in versions]
        if gone or not wanted:
            raise invalid(f"there is no version {', '.join(gone)} (versions: {', '.join(names)})")
        return {name: versions[name] for name in names if name in wanted}
    raise invalid("version_policy: expected latest, all or specific, as in Triton's configuration")
