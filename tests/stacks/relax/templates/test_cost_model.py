"""The cost model that ships: XGBoost's trees without XGBoost, checked by hash."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

from tvmkd.base.errors import TvmkdError

if INSIDE:
    import template_cases as cases

    from tvmkd.stacks.relax.templates import RANKED, cost_model, packed, template_for
    from tvmkd.stacks.relax.templates.cpu import Cpu
    from tvmkd.stacks.relax.templates.threads import EXPECTED


def trained(folder: Path) -> tuple[Any, np.ndarray]:
    """A small model of XGBoost's, saved as JSON, and rows of features."""
    import xgboost

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 5)).astype(np.float32)
    model = xgboost.XGBRegressor(n_estimators=12, max_depth=4, random_state=0)
    model.fit(rows, rows[:, 0] * rows[:, 3] + 2)
    model.save_model(folder / "model.json")
    return model, rows


@inside("relax")
def test_trees_predict_what_xgboost_does(tmp_path: Path) -> None:
    model, rows = trained(tmp_path)
    trees = cost_model.Trees(json.loads((tmp_path / "model.json").read_text()))
    np.testing.assert_allclose(trees.predict(rows), model.predict(rows), rtol=1e-5)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def shipped(folder: Path, **changes: Any) -> None:
    """A model of packed kernels that ships in a folder."""
    data = gzip.compress((folder / "model.json").read_bytes())
    (folder / "packed.json.gz").write_bytes(data)
    about = {
        "version": cost_model.VERSION,
        "models": {"packed": {"file": "packed.json.gz", "sha256": _sha256(data)}},
        **changes,
    }
    (folder / cost_model.ABOUT).write_text(json.dumps(about))


@inside("relax")
def test_only_the_file_that_was_shipped_is_read(tmp_path: Path) -> None:
    folder = tmp_path
    trained(folder)
    shipped(folder)
    assert cost_model.load("packed", folder) is not None
    assert cost_model.load("depthwise", folder) is None, "not trained"
    assert cost_model.load("packed", folder / "nothing") is None
    cost_model.load.cache_clear()
    (folder / "packed.json.gz").write_bytes(b"changed")
    with pytest.raises(TvmkdError, match="not the cost model"):
        cost_model.load("packed", folder)
    shipped(folder, version=cost_model.VERSION + 1)
    cost_model.load.cache_clear()
    assert cost_model.load("packed", folder) is None


@inside("relax")
def test_features_of_every_ranked_kind() -> None:
    kernels = {"packed": cases.convolution(), "depthwise": cases.depthwise()}
    for template, kind in RANKED.items():
        if kind not in kernels:
            continue
        for config in template.configs(cases.schedule(*kernels[kind]), Cpu()):
            row = cost_model.row(kind, config)
            assert len(row) == len(cost_model.FEATURES[kind])
            assert np.isfinite(row).all()
    first = packed.configs(cases.schedule(*cases.convolution()), Cpu())[0]
    named = dict(zip(cost_model.FEATURES["packed"], cost_model.row("packed", first), strict=True))
    assert named["pad"] == cost_model.WORDS.index(first["pad"])
    assert named["work"] == first["work"]


@inside("relax")
def test_without_a_model_it_is_reckoned() -> None:
    board = Cpu(lanes=4, registers=32, fma=1, loads=1)
    configs = packed.configs(cases.schedule(*cases.convolution()), board)
    found = cost_model.cycles("packed", configs, packed.cycles, board)
    assert found == [packed.cycles(config) for config in configs]


@inside("relax")
def test_what_ships_is_whole_and_orders_the_space() -> None:
    folders = sorted(cost_model.folder_for(8, 16).parent.iterdir())
    assert cost_model.folder_for(8, 16) in folders
    for folder in folders:
        for kind in cost_model.FEATURES:
            assert cost_model.load(kind, folder) is not None
    space = template_for(cases.module(*cases.convolution()), Cpu())
    assert space is not None
    expected = [
        member.config[EXPECTED]
        for member in map(space.member, range(8))
        if member is not None and member.config is not None
    ]
    assert expected == sorted(expected)
