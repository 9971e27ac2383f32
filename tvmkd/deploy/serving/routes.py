"""The routes of the REST server other than inference, with Starlette."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tvmkd.base.version import __version__
from tvmkd.deploy.serving import codec
from tvmkd.deploy.serving.access import Access
from tvmkd.deploy.serving.faults import RequestFault, invalid
from tvmkd.deploy.serving.metrics import Metrics
from tvmkd.deploy.serving.repository import Repository
from tvmkd.deploy.serving.rest import read_body

EXTENSIONS = ["binary_tensor_data", "model_repository", "schedule_policy"]
MOST_CONTROL_BODY = 1 << 20
Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Routes:
    """See the module.

    Attributes:
        repository: the models.
        access: who may ask.
        metrics: what is counted.
        stopping: becomes True when the server stops: it is no longer ready.
    """

    repository: Repository
    access: Access
    metrics: Metrics
    stopping: bool = False

    def application(self, more: list[Route]) -> Starlette:
        """The ASGI application, with further routes."""
        model = "/v2/models/{name}"
        version = model + "/versions/{version}"
        repository = "/v2/repository"
        get, post = ["GET"], ["POST"]
        table: list[tuple[str, Handler, list[str]]] = [
            ("/v2", self.server_metadata, get),
            ("/v2/health/live", self.live, get),
            ("/v2/health/ready", self.ready, get),
            (model, self.metadata, get),
            (version, self.metadata, get),
            (model + "/ready", self.model_ready, get),
            (version + "/ready", self.model_ready, get),
            (model + "/infer", self.no_infer, post),
            (version + "/infer", self.no_infer, post),
            (repository + "/index", self.index, post),
            (repository + "/models/{name}/load", self.load, post),
            (repository + "/models/{name}/unload", self.unload, post),
            ("/metrics", self.show_metrics, get),
        ]
        routes = [Route(path, self._checked(call), methods=ways) for path, call, ways in table]
        made = Starlette(
            routes=[*routes, *more],
            exception_handlers={
                RequestFault: self._fault,
                HTTPException: self._no_route,
                Exception: _unexpected,
            },
        )
        made.router.redirect_slashes = False  # a redirect is no answer of the protocol
        return made

    def _checked(self, call: Handler) -> Handler:
        """Lets only those in who may; probes of health need no token."""
        if call in (self.live, self.ready):
            return call

        async def checked(request: Request) -> Response:
            self.access.check(request.scope["headers"])
            return await call(request)

        return checked

    async def _fault(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestFault)
        self.metrics.refused[error.kind] += 1
        headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
        if error.kind == "unauthorized":
            headers["www-authenticate"] = "Bearer"
        return JSONResponse({"error": error.message}, error.status, headers)

    async def _no_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path[:128]
        if error.status_code == 405:
            self.metrics.refused["method"] += 1
            text = f"{path}: not with {request.method[:16]}"
        else:
            self.metrics.refused["not_found"] += 1
            text = f"there is no {path}; the protocol's paths begin with /v2"
        return JSONResponse({"error": text}, error.status_code, error.headers)

    async def live(self, request: Request) -> Response:
        """The server runs."""
        return Response()

    async def ready(self, request: Request) -> Response:
        """All loaded models answer."""
        return Response(status_code=200 if self.is_ready() else 400)

    def is_ready(self) -> bool:
        """True if requests for every loaded model are accepted."""
        return not self.stopping and self.repository.ready()

    async def server_metadata(self, request: Request) -> Response:
        """Name, version, extensions."""
        return JSONResponse({"name": "tvmkd", "version": __version__, "extensions": EXTENSIONS})

    async def metadata(self, request: Request) -> Response:
        """A model's inputs and outputs."""
        served = self.repository.get(**request.path_params)
        versions = list(self.repository.models[served.name].loaded)
        return JSONResponse(served.metadata(versions))

    async def model_ready(self, request: Request) -> Response:
        """One model answers."""
        served = self.repository.get(**request.path_params)
        return Response(status_code=200 if served.pool.ready else 400)

    async def no_infer(self, request: Request) -> Response:
        """Inference with a model that is not loaded: says so."""
        self.repository.get(**request.path_params)
        raise invalid("the model was loaded just now; ask again")

    async def index(self, request: Request) -> Response:
        """All versions, and whether they are loaded."""
        content = await _content(request)
        ready = content.get("ready", False)
        if not isinstance(ready, bool):
            raise invalid("ready: has to be true or false")
        return JSONResponse(self.repository.index(ready))

    async def load(self, request: Request) -> Response:
        """Loads a model, or loads it again."""
        self.access.check_control()
        content = await _content(request)
        parameters = content.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise invalid("parameters: has to be a JSON object")
        # A client that goes away does not leave half a load.
        loading = asyncio.ensure_future(
            self.repository.load(request.path_params["name"], parameters)
        )
        await asyncio.shield(loading)
        return JSONResponse({})

    async def unload(self, request: Request) -> Response:
        """Unloads a model."""
        self.access.check_control()
        await _content(request)
        await self.repository.unload(request.path_params["name"])
        return JSONResponse({})

    async def show_metrics(self, request: Request) -> Response:
        """All counters, in Prometheus' text format."""
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        text = generate_latest(self.metrics.registry(self.repository))
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


async def _content(request: Request) -> dict[str, Any]:
    """The JSON object of a small request; an empty body is an empty object."""
    body = await read_body(request.receive, MOST_CONTROL_BODY)
    if not body:
        return {}
    content = codec.parse_json(body)
    if not isinstance(content, dict):
        raise invalid("the request has to be a JSON object")
    return content


async def _unexpected(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"a fault of the server: {type(error).__name__}"}, 500)
