"""The table of lowerings."""

from __future__ import annotations

import onnx

from tvmkd.export.rewrites.registry import LOWERINGS


def test_onnx_knows_every_operator_of_its_own():
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    own = {name for domain, name in LOWERINGS if not domain}
    assert own - known == {"SimplifiedLayerNormalization"}
