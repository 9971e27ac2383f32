"""The gRPC server: ``inference.GRPCInferenceService`` of the Open Inference Protocol."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tvmkd.base.version import __version__
from tvmkd.deploy.serving import codec
from tvmkd.deploy.serving.access import Access
from tvmkd.deploy.serving.call import Request, Result
from tvmkd.deploy.serving.faults import RequestFault, invalid
from tvmkd.deploy.serving.messages import PACKAGE, SERVICE, methods
from tvmkd.deploy.serving.metrics import Metrics
from tvmkd.deploy.serving.repository import Repository, Served
from tvmkd.deploy.serving.routes import EXTENSIONS, Routes
from tvmkd.deploy.serving.tensors import Tensor

CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
"""gRPC's status for each HTTP status."""
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
MOST_WAIT_S = 1e6


class Service:
    """The methods; see the protocol for what each does.

    Args:
        routes: the REST server's routes, which know the models and who may ask.
        timeout_us: for requests that say none; 0: none.
    """

    def __init__(self, routes: Routes, timeout_us: int) -> None:
        self._routes = routes
        self._repository: Repository = routes.repository
        self._access: Access = routes.access
        self._metrics: Metrics = routes.metrics
        self._timeout_us = timeout_us

    def handlers(self) -> Any:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        import grpc

        calls: Mapping[str, Callable[[Any, Any], Awaitable[dict[str, Any]]]] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.repository_model_load,
            "RepositoryModelUnload": self.repository_model_unload,
        }
        table = {}
        for name, (request, response) in methods().items():
            behaviour = self.model_infer if name == "ModelInfer" else self._plain(calls[name])
            table[name] = grpc.unary_unary_rpc_method_handler(
                self._answered(behaviour, response, name in ("ServerLive", "ServerReady")),
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            )
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{SERVICE}", table)

    def _plain(self, call: Callable[[Any, Any], Awaitable[dict[str, Any]]]) -> Any:
        async def counted(request: Any, context: Any) -> dict[str, Any]:
            try:
                return await call(request, context)
            except RequestFault as fault:
                self._metrics.refused[fault.kind] += 1
                raise

        return counted

    def _answered(self, call: Any, response: Any, is_open: bool) -> Any:
        """Checks the token, and turns faults into statuses."""
        import grpc

        async def answer(request: Any, context: Any) -> Any:
            try:
                if not is_open:
                    given = dict(context.invocation_metadata() or ()).get("authorization")
                    self._access.check_token(given.encode() if isinstance(given, str) else given)
                return response(**await call(request, context))
            except RequestFault as fault:
                if fault.retry_after is not None:
                    milliseconds = str(1000 * fault.retry_after)
                    context.set_trailing_metadata((("grpc-retry-pushback-ms", milliseconds),))
                await context.abort(grpc.StatusCode[CODES[fault.status]], fault.message)

        return answer

    async def server_live(self, request: Any, context: Any) -> dict[str, Any]:
        """The server runs."""
        return {"live": True}

    async def server_ready(self, request: Any, context: Any) -> dict[str, Any]:
        """All loaded models answer."""
        return {"ready": self._routes.is_ready()}

    async def model_ready(self, request: Any, context: Any) -> dict[str, Any]:
        """One model answers."""
        return {"ready": self._repository.get(request.name, request.version).pool.ready}

    async def server_metadata(self, request: Any, context: Any) -> dict[str, Any]:
        """Name, version, extensions."""
        return {"name": "tvmkd", "version": __version__, "extensions": EXTENSIONS}

    async def model_metadata(self, request: Any, context: Any) -> dict[str, Any]:
        """A model's inputs and outputs."""
        served = self._repository.get(request.name, request.version)
        return served.metadata(list(self._repository.models[served.name].loaded))

    async def repository_index(self, request: Any, context: Any) -> dict[str, Any]:
        """All versions, and whether they are loaded."""
        return {"models": self._repository.index(request.ready)}

    async def repository_model_load(self, request: Any, context: Any) -> dict[str, Any]:
        """Loads a model, or loads it again."""
        self._access.check_control()
        parameters = _values(request.parameters)
        loading = asyncio.ensure_future(self._repository.load(request.model_name, parameters))
        await asyncio.shield(loading)
        return {}

    async def repository_model_unload(self, request: Any, context: Any) -> dict[str, Any]:
        """Unloads a model."""
        self._access.check_control()
        await self._repository.unload(request.model_name)
        return {}

    async def model_infer(self, request: Any, context: Any) -> dict[str, Any]:
        """Runs a model."""
        arrived = time.monotonic_ns()
        try:
            served = self._repository.get(request.model_name, request.model_version)
        except RequestFault as fault:
            self._metrics.refused[fault.kind] += 1
            raise
        statistics = served.statistics
        statistics.requests += 1
        try:
            inputs, shapes = _inputs(served, request)
            outputs = _outputs(served, request)
            call = Request(
                inputs,
                shapes,
                arrived,
                self._deadline(arrived, request, context),
                asyncio.get_running_loop().create_future(),
            )
            served.pool.submit(call)
            result = await call.future
        except RequestFault as fault:
            statistics.errors[fault.kind] += 1
            raise
        return _response(served, request.id, outputs, result)

    def _deadline(self, arrived: int, request: Any, context: Any) -> int:
        timeout = _values(request.parameters).get("timeout", 0)
        if type(timeout) is not int or not 0 <= timeout < 2**63:
            raise invalid("parameters: timeout has to be a number of microseconds")
        timeout = timeout or self._timeout_us
        found = [arrived + 1000 * timeout] if timeout else []
        remaining = context.time_remaining()
        if remaining is not None and remaining < MOST_WAIT_S:
            found.append(arrived + int(remaining * 1e9))
        return min(found, default=0)


def _values(parameters: Any) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "bool_param")
        for name, value in parameters.items()
    }


def _inputs(served: Served, request: Any) -> tuple[list[bytes], list[tuple[int, ...]]]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise invalid(f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs")
    data = [b""] * len(served.inputs)
    shapes: list[tuple[int, ...] | None] = [None] * len(served.inputs)
    free: dict[str, int] = {}
    for place, given in enumerate(request.inputs):
        number = served.input_numbers.get(given.name)
        if number is None:
            raise invalid(codec.unknown("input", given.name, served.inputs))
        if shapes[number] is not None:
            raise invalid(f"input {given.name!r} is given twice")
        tensor = served.inputs[number]
        shape = tensor.check(given.datatype, list(given.shape), free)
        shapes[number] = shape
        if raw and given.HasField("contents"):
            raise invalid(f"input {given.name!r}: has both contents and raw_input_contents")
        data[number] = raw[place] if raw else _contents(tensor, given)
        nbytes = math.prod(shape) * tensor.itemsize
        if len(data[number]) != nbytes:
            raise invalid(
                f"input {given.name!r}: {len(data[number])} bytes; the shape {list(shape)} has "
                f"{nbytes}"
            )
    return data, codec.complete(served, shapes)


def _contents(tensor: Tensor, given: Any) -> bytes:
    import numpy as np

    name = CONTENTS.get(tensor.datatype)
    if name is None:
        raise invalid(f"input {tensor.name!r}: send {tensor.datatype} as raw_input_contents")
    values = getattr(given.contents, name)
    dtype = np.dtype(tensor.dtype)
    # The fields are wider than 8 and 16 bits, and numpy would wrap around without a word.
    if values and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if min(values) < limits.min or max(values) > limits.max:
            text = f"input {tensor.name!r}: contents has values outside of {tensor.datatype}"
            raise invalid(text)
    return np.array(values, dtype).tobytes()


def _outputs(served: Served, request: Any) -> list[int]:
    numbers = [codec.output_number(served, each.name) for each in request.outputs]
    if len(set(numbers)) != len(numbers):
        raise invalid("an output is requested twice")
    return numbers or list(range(len(served.outputs)))


def _response(
    served: Served, request_id: str, numbers: list[int], result: Result
) -> dict[str, Any]:
    return {
        "model_name": served.name,
        "model_version": served.version,
        "id": request_id,
        "outputs": [
            {
                "name": served.outputs[number].name,
                "datatype": served.outputs[number].datatype,
                "shape": result.shapes[number],
            }
            for number in numbers
        ],
        "raw_output_contents": [result.outputs[number] for number in numbers],
    }
