"""The gRPC server, asked by tritonclient and by a bare channel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_models import repository, served, spec
from running import Running, serving

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")
triton = pytest.importorskip("tritonclient.grpc")
grpc = pytest.importorskip("grpc")
TOKEN = "a-token-of-the-tests"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
X = np.arange(4, dtype=np.float32).reshape(1, 4)
Y = X + 7


@pytest.fixture(scope="module")
def server(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with serving(toy, "--token-file", token, "--max-body", "1") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.facts['grpc_port']}") as found:
        yield found


def inputs(x: np.ndarray = X, y: np.ndarray = Y) -> list[Any]:
    found = []
    for name, array in (("x", x), ("y", y)):
        dtype = "FP32" if array.dtype == np.float32 else "FP64"
        found.append(triton.InferInput(name, list(array.shape), dtype))
        found[-1].set_data_from_numpy(array)
    return found


def status(error: Any) -> str:
    return str(error.value.status()).removeprefix("StatusCode.")


def test_tritonclient_agrees(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy", headers=HEADERS)
    assert client.get_server_metadata(headers=HEADERS).name == "tvmkd"
    metadata = client.get_model_metadata("toy", headers=HEADERS)
    assert [each.name for each in metadata.inputs] == ["x", "y"]
    assert [list(each.shape) for each in metadata.outputs] == [[1, 4], [1, 4]]
    result = client.infer("toy", inputs(), request_id="a 7", headers=HEADERS)
    np.testing.assert_array_equal(result.as_numpy("out_x"), X + Y)
    np.testing.assert_array_equal(result.as_numpy("out_y"), X * Y)
    assert result.get_response().id == "a 7"
    outputs = [triton.InferRequestedOutput("out_y")]
    result = client.infer("toy", inputs(), model_version="1", outputs=outputs, headers=HEADERS)
    assert result.as_numpy("out_x") is None
    np.testing.assert_array_equal(result.as_numpy("out_y"), X * Y)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"model_name": "nobody"}, "NOT_FOUND", "there is no model 'nobody'"),
        ({"model_version": "7"}, "NOT_FOUND", "version '7' is not loaded"),
        ({"inputs": inputs()[:1]}, "INVALID_ARGUMENT", "input 'y' is missing"),
        ({"inputs": inputs() + inputs()[:1]}, "INVALID_ARGUMENT", "given twice"),
        ({"inputs": inputs(X.astype("f8"))}, "INVALID_ARGUMENT", "the datatype is FP32"),
        ({"inputs": inputs(X.ravel())}, "INVALID_ARGUMENT", r"the shape is \[1, 4\], not \[4\]"),
        ({"outputs": [triton.InferRequestedOutput("z")]}, "INVALID_ARGUMENT", "no output 'z'"),
        ({"timeout": 1}, "UNAVAILABLE", "would miss its deadline"),
        ({"headers": {}}, "UNAUTHENTICATED", "send the server's token"),
        ({"headers": {"authorization": "Bearer x"}}, "UNAUTHENTICATED", "send the server's token"),
    ],
)
def test_a_wrong_request_has_a_status_and_a_line(
    client: Any, changes: dict[str, Any], code: str, text: str
) -> None:
    client.infer("toy", inputs(), headers=HEADERS)
    given = {"model_name": "toy", "inputs": inputs(), "headers": HEADERS} | changes
    with pytest.raises(triton.InferenceServerException, match=text) as error:
        client.infer(**given)
    assert status(error) == code
    assert "\n" not in error.value.message()


def test_a_message_that_is_too_long(client: Any) -> None:
    many = np.zeros((1, 2**19), np.float32)
    with pytest.raises(triton.InferenceServerException) as error:
        client.infer("toy", inputs(many), headers=HEADERS)
    assert status(error) == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("remaining", "parameter", "command_us", "expected_us"),
    [
        (None, 0, 0, 0),
        (None, 0, 300, 300),
        (None, 200, 300, 200),
        (0.25, 0, 0, 250_000),
        (0.25, 1000, 0, 1000),
        (0.25, 900_000, 100, 250_000),
        (1e9, 0, 0, 0),  # how gRPC says that there is none
    ],
)
def test_the_deadline_of_the_call_counts(
    remaining: float | None, parameter: int, command_us: int, expected_us: int
) -> None:
    from tvmkd.deploy.serving import grpc_service, messages

    routes = SimpleNamespace(repository=None, access=None, metrics=None)
    service = grpc_service.Service(routes, command_us)  # type: ignore[arg-type]
    request = messages.message("ModelInferRequest")()
    if parameter:
        request.parameters["timeout"].int64_param = parameter
    context = SimpleNamespace(time_remaining=lambda: remaining)
    deadline = service._deadline(5_000, request, context)
    assert deadline == (5_000 + 1000 * expected_us if expected_us else 0)


@pytest.fixture(scope="module")
def ask(server: Running) -> Iterator[Any]:
    """Calls a method with a message of our own."""
    from tvmkd.deploy.serving import messages

    with grpc.insecure_channel(f"127.0.0.1:{server.facts['grpc_port']}") as channel:

        def call(method: str, **fields: Any) -> Any:
            request, response = messages.methods()[method]
            stub = channel.unary_unary(
                f"/inference.GRPCInferenceService/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            return stub(request(**fields), metadata=tuple(HEADERS.items()), timeout=60)

        yield call


def contents(name: str, values: list[float], **more: Any) -> dict[str, Any]:
    return {
        "name": name, "datatype": "FP32", "shape": [1, 4], "contents": {"fp32_contents": values},
        **more,
    }  # fmt: skip


def test_values_that_are_not_raw(ask: Any) -> None:
    given = [contents("y", [1, 2, 3, 4]), contents("x", [5, 6, 7, 8])]
    response = ask("ModelInfer", model_name="toy", inputs=given)
    values = [np.frombuffer(raw, np.float32).tolist() for raw in response.raw_output_contents]
    assert values == [[6, 8, 10, 12], [5, 12, 21, 32]]


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": [contents("x", [1, 2, 3]), contents("y", [1, 2, 3, 4])]},
        {"inputs": [contents("x", [1, 2, 3, 4])] * 2, "raw_input_contents": [b""]},
        {"inputs": [contents("x", [1] * 4), contents("y", [1] * 4)],
         "raw_input_contents": [bytes(16)] * 2},
        {"inputs": [contents("x", [1] * 4, shape=[-1, -4]), contents("y", [1] * 4)]},
    ],
)  # fmt: skip
def test_wrong_contents(ask: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(grpc.RpcError) as error:
        ask("ModelInfer", model_name="toy", **fields)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_bytes_that_are_no_message(server: Running, ask: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.facts['grpc_port']}") as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError):
            method(b"\xff" * 100, timeout=60)
    assert ask("ServerLive").live


def test_the_repository(client: Any) -> None:
    index = client.get_model_repository_index(headers=HEADERS)
    assert [(each.name, each.version, each.state) for each in index.models] == [
        ("toy", "1", "READY")
    ]
    client.load_model("toy", headers=HEADERS)
    assert client.infer("toy", inputs(), headers=HEADERS).as_numpy("out_x") is not None
    client.unload_model("toy", headers=HEADERS)
    with pytest.raises(triton.InferenceServerException, match="not loaded"):
        client.infer("toy", inputs(), headers=HEADERS)
    client.load_model("toy", headers=HEADERS)
    assert client.infer("toy", inputs(), headers=HEADERS).as_numpy("out_x") is not None


class Ended(Exception):
    """What a context raises when a call is aborted."""


class Context:
    """Of a call: notes how it ends."""

    def __init__(self, **metadata: str) -> None:
        self.metadata = tuple(metadata.items())
        self.trailing: Any = ()

    def invocation_metadata(self) -> Any:
        return self.metadata

    def time_remaining(self) -> None:
        return None

    def set_trailing_metadata(self, found: Any) -> None:
        self.trailing = found

    async def abort(self, code: Any, message: str) -> None:
        raise Ended(code.name, message)


class Direct:
    """The service in this process, with a model that answers with its inputs."""

    def __init__(self, token: str | None = None, control: bool = True, **model: Any) -> None:
        from tvmkd.deploy.serving import grpc_service, routes
        from tvmkd.deploy.serving.access import Access
        from tvmkd.deploy.serving.metrics import Metrics

        self.model = served(**model)
        self.metrics = Metrics()
        found = routes.Routes(repository(self.model), Access(token, True, control), self.metrics)
        self.handler = grpc_service.Service(found, 0).handlers()

    def call(self, method: str, context: Context | None = None, **fields: Any) -> Any:
        from tvmkd.deploy.serving import messages

        details = SimpleNamespace(method=f"/inference.GRPCInferenceService/{method}")
        handler = self.handler.service(details)
        request, response = messages.methods()[method]
        sent = handler.request_deserializer(request(**fields).SerializeToString())
        answer = asyncio.run(handler.unary_unary(sent, context or Context()))
        return response.FromString(handler.response_serializer(answer))

    def ends(self, method: str, context: Context | None = None, **fields: Any) -> tuple[str, str]:
        with pytest.raises(Ended) as error:
            self.call(method, context, **fields)
        return error.value.args[0], error.value.args[1]


def raw(name: str, shape: tuple[int, ...] = (1, 4), datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def test_raw_inputs_come_in_the_order_of_the_request() -> None:
    direct = Direct()
    answer = direct.call(
        "ModelInfer", model_name="toy", id="q", inputs=[raw("y"), raw("x")],
        raw_input_contents=[Y.tobytes(), X.tobytes()],
    )  # fmt: skip
    assert list(answer.raw_output_contents) == [X.tobytes(), Y.tobytes()]
    assert [each.name for each in answer.outputs] == ["a", "b"]
    assert (answer.id, answer.model_name, answer.model_version) == ("q", "toy", "1")
    answer = direct.call(
        "ModelInfer", model_name="toy", inputs=[raw("x"), raw("y")], outputs=[{"name": "b"}],
        raw_input_contents=[X.tobytes(), Y.tobytes()],
    )  # fmt: skip
    assert list(answer.raw_output_contents) == [Y.tobytes()]
    assert direct.model.statistics.requests == 2
    assert direct.model.statistics.errors == {}


@pytest.mark.parametrize(
    ("dtype", "datatype", "field", "values"),
    [
        ("bool", "BOOL", "bool_contents", [True, False]),
        ("uint8", "UINT8", "uint_contents", [0, 255]),
        ("int8", "INT8", "int_contents", [-128, 127]),
        ("int64", "INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("uint64", "UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("float64", "FP64", "fp64_contents", [1e308, -0.5]),
    ],
)
def test_contents_of_each_type(dtype: str, datatype: str, field: str, values: list[Any]) -> None:
    direct = Direct(inputs=[spec("x", (2,), dtype)], outputs=[spec("a", (2,), dtype)])
    given = {**raw("x", (2,), datatype), "contents": {field: values}}
    answer = direct.call("ModelInfer", model_name="toy", inputs=[given])
    assert list(answer.raw_output_contents) == [np.array(values, dtype).tobytes()]


@pytest.mark.parametrize(
    ("dtype", "datatype", "field", "values", "text"),
    [
        ("uint8", "UINT8", "uint_contents", [0, 256], "outside of UINT8"),
        ("int8", "INT8", "int_contents", [0, -129], "outside of INT8"),
        ("uint8", "UINT8", "int_contents", [0, 1], "0 bytes"),
        ("float16", "FP16", "fp32_contents", [0, 1], "send FP16 as raw_input_contents"),
    ],
)
def test_contents_that_are_wrong(
    dtype: str, datatype: str, field: str, values: list[Any], text: str
) -> None:
    direct = Direct(inputs=[spec("x", (2,), dtype)], outputs=[spec("a", (2,), dtype)])
    given = {**raw("x", (2,), datatype), "contents": {field: values}}
    code, message = direct.ends("ModelInfer", model_name="toy", inputs=[given])
    assert code == "INVALID_ARGUMENT"
    assert text in message
    assert direct.model.statistics.errors == {"invalid": 1}
    assert direct.model.pool.seen == []


def test_an_input_has_its_values_in_one_place() -> None:
    direct = Direct()
    given = [{**raw("x"), "contents": {"fp32_contents": [1, 2, 3, 4]}}, raw("y")]
    code, message = direct.ends(
        "ModelInfer", model_name="toy", inputs=given, raw_input_contents=[bytes(16)] * 2
    )
    assert code == "INVALID_ARGUMENT"
    assert "both contents and raw_input_contents" in message


def test_a_refusal_of_the_pool_has_its_status_and_says_when_to_come_again() -> None:
    from tvmkd.deploy.serving.faults import RequestFault

    for kind, code in (("queue_full", "UNAVAILABLE"), ("too_large", "RESOURCE_EXHAUSTED"),
                       ("failed", "INTERNAL")):  # fmt: skip
        direct, context = Direct(), Context()
        direct.model.pool.fault = RequestFault(kind, "why", 3 if kind == "queue_full" else None)
        fields = {"inputs": [raw("x"), raw("y")], "raw_input_contents": [bytes(16)] * 2}
        assert direct.ends("ModelInfer", context, model_name="toy", **fields) == (code, "why")
        expected = (("grpc-retry-pushback-ms", "3000"),) if kind == "queue_full" else ()
        assert context.trailing == expected
        assert direct.model.statistics.errors == {kind: 1}


def test_every_method_but_health_wants_the_token() -> None:
    from tvmkd.deploy.serving import messages

    direct = Direct(token=TOKEN)
    for method in messages.methods():
        if method in ("ServerLive", "ServerReady"):
            direct.call(method)
        else:
            assert direct.ends(method)[0] == "UNAUTHENTICATED"
    found = direct.call("ServerMetadata", Context(authorization=f"Bearer {TOKEN}"))
    assert found.name == "tvmkd"


def test_loading_that_is_off() -> None:
    direct = Direct(control=False)
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        assert direct.ends(method, model_name="toy")[0] == "PERMISSION_DENIED"
    assert direct.metrics.refused == {"forbidden": 2}
    assert direct.call("ModelReady", name="toy").ready


def test_readiness_and_the_index() -> None:
    direct = Direct()
    assert direct.call("ServerReady").ready
    direct.model.pool.ready = False
    assert not direct.call("ServerReady").ready
    assert not direct.call("ModelReady", name="toy").ready
    (row,) = direct.call("RepositoryIndex").models
    assert (row.name, row.version, row.state, row.reason) == (
        "toy", "1", "UNAVAILABLE", "starting",
    )  # fmt: skip
    assert len(direct.call("RepositoryIndex", ready=True).models) == 0
    assert direct.ends("ModelInfer", model_name="nobody")[0] == "NOT_FOUND"
    assert direct.metrics.refused == {"not_found": 1}
