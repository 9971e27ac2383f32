"""Which function lowers which operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvmkd.export.rewrites.function_bodies import function_body
from tvmkd.export.site import Site

# An operator's domain ("" for ONNX's own) and name.
Operator = tuple[str, str]
# It leaves a site as it is where plain operators say it already, and raises Refused where none can.
Lowering = Callable[[Site], None]

LOWERINGS: Mapping[Operator, Lowering] = {
    ("", "Celu"): function_body,
    ("", "Swish"): function_body,
}
