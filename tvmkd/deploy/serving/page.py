"""The page for people at ``/``: model cards, live latency, try it with an image.

The page itself holds nothing secret; everything that it shows comes from requests that carry the
token. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tvmkd.base.detector_description import KEY
from tvmkd.base.runtimes import STANDALONE
from tvmkd.base.version import __version__
from tvmkd.boards import telemetry
from tvmkd.deploy.serving.faults import invalid
from tvmkd.deploy.serving.repository import Served
from tvmkd.deploy.serving.routes import Routes
from tvmkd.deploy.serving.tensors import Tensor

TEMPLATES = Path(__file__).parent / "templates"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURE = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def routes(table: Routes) -> list[Route]:
    """The page's routes."""

    def checked(call: Callable[[Request], Awaitable[Response]]) -> Any:
        async def answer(request: Request) -> Response:
            table.access.check(request.scope["headers"])
            return await call(request)

        return answer

    async def page(request: Request) -> Response:
        return Response(_page(), media_type="text/html", headers=SECURE)

    async def script(request: Request) -> Response:
        text = (TEMPLATES / "app.js").read_text(encoding="utf-8")
        return Response(text, media_type="text/javascript", headers=SECURE)

    async def models(request: Request) -> Response:
        return JSONResponse([card(served) for served in table.repository.served()])

    async def live(request: Request) -> Response:
        since = request.query_params.get("since", "0")
        if not since.replace(".", "", 1).isdigit() or len(since) > 24:
            raise invalid("since: has to be a time in seconds")
        rows = [_live(served, float(since)) for served in table.repository.served()]
        return JSONResponse({"models": rows, "board": board()})

    return [
        Route("/", page, methods=["GET"]),
        Route("/ui/app.js", script, methods=["GET"]),
        Route("/ui/models", checked(models), methods=["GET"]),
        Route("/ui/live", checked(live), methods=["GET"]),
    ]


@functools.cache
def _page() -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from tvmkd.report.environment import TEMPLATES as REPORT

    made = Environment(
        loader=FileSystemLoader([TEMPLATES, REPORT]), autoescape=True, undefined=StrictUndefined
    )
    return made.get_template("index.html").render(version=__version__)


def _live(served: Served, since: float) -> dict[str, Any]:
    statistics, pool = served.statistics, served.pool
    return {
        "name": served.name,
        "version": served.version,
        "ready": pool.ready,
        "requests": statistics.requests,
        "answered": statistics.count,
        "errors": dict(statistics.errors),
        "misses": statistics.deadline_misses,
        "restarts": statistics.restarts,
        "queue": len(pool.waiting),
        "instances": pool.ready_workers,
        "points": [
            [round(at, 3), round(seconds * 1000, 4)]
            for _, at, seconds in statistics.recent
            if at > since
        ],
    }


def board() -> dict[str, Any]:
    """What a person wants to know of the board; what it does not tell is left out."""
    state = telemetry.read()
    facts = {
        "celsius": state.celsius,
        "watts": state.watts,
        "throttled_by": list(state.throttled_by) if state.throttled_by else None,
        "mode": state.power_mode,
        "ghz": max((clock.now for clock in state.clocks), default=0) / 1e6 or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def card(served: Served) -> dict[str, Any]:
    """A model's card, from its manifest."""
    manifest = served.manifest
    target = manifest.target
    check, coverage = manifest.check, manifest.coverage
    size = sum(entry.size for entry in manifest.files.values())
    facts = {
        "Target": " · ".join(filter(None, (target.get("name"), target.get("description")))),
        "Compiler": f"{manifest.stack} {manifest.stack_version}"
        + (", standalone" if manifest.runtime == STANDALONE else ""),
        "Size": f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 1024:.0f} KiB",
        "Built": f"{manifest.created} by tvmkd {manifest.tvmkd_version}",
        "ONNX": f"SHA-256 {manifest.onnx_sha256[:16]}…",
    }
    if isinstance(check.get("max_error"), (int, float)):
        facts["Checked"] = (
            f"against {check.get('against', 'ONNX Runtime')}: largest difference "
            f"{check['max_error']:.1e}, allowed {check.get('tolerance', 0):.1e}"
        )
    if coverage.get("tasks"):
        facts["Tuned"] = f"{coverage.get('tuned', 0)} of {coverage['tasks']} kernels"
    for key in ("metric", "student", "teacher"):
        if key in manifest.metadata:
            facts[key.capitalize()] = manifest.metadata[key]
    calibrated = threshold(manifest.metadata)
    if calibrated is not None:
        facts["Threshold"] = f"{calibrated:.3f} of a score, as calibrated"
    return {
        "name": served.name,
        "version": served.version,
        "inputs": [tensor.metadata() for tensor in served.inputs],
        "outputs": [tensor.metadata() for tensor in served.outputs],
        "facts": facts,
        "classes": classes(manifest.metadata),
        "image": image(served.inputs, manifest.metadata),
    }


def classes(metadata: Mapping[str, str]) -> list[str]:
    """The class names in a model's metadata; empty: there are none."""
    found = _parsed(metadata.get("classes"))
    if found is None and isinstance(detector := _parsed(metadata.get(KEY)), dict):
        found = detector.get("classes")
    return [str(name) for name in found] if isinstance(found, list) else []


def threshold(metadata: Mapping[str, str]) -> float | None:
    """The least score of a detector's results; None: no detector, or not calibrated."""
    detector = _parsed(metadata.get(KEY))
    found = detector.get("threshold") if isinstance(detector, dict) else None
    return found if isinstance(found, float) else None


def image(inputs: tuple[Tensor, ...], metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """How to make the model's input from a picture; None: it has no image as its only input."""
    if len(inputs) != 1 or len(inputs[0].sizes) != 4 or inputs[0].datatype not in ("FP32", "UINT8"):
        return None
    batch, *rest = inputs[0].sizes
    if rest[0] in (1, 3):
        layout, (channels, height, width) = "NCHW", rest
    elif rest[2] in (1, 3):
        layout, (height, width, channels) = "NHWC", rest
    else:
        return None
    if batch not in (1, -1) or min(height, width) < 1:
        return None
    steps = _parsed(metadata.get("preprocessing"))
    steps = steps if isinstance(steps, dict) else {}
    made: dict[str, Any] = {
        "datatype": inputs[0].datatype, "layout": layout,
        "channels": channels, "height": height, "width": width,
        "unit": steps.get("scale") != 1, "crop": "crop_center" in steps,
        "trained": bool(steps) or KEY in metadata,
    }  # fmt: skip
    for key, plain in (("mean", 0.0), ("std", 1.0)):
        values = steps.get(key)
        if not isinstance(values, list) or len(values) != channels:
            values = [plain] * channels
        numbers = all(isinstance(each, (int, float)) for each in values)
        made[key] = values if numbers else [plain] * channels
    return made


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
