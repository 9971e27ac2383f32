"""What every server of tvmkd must do: tests against a URL, whatever program listens there.

`tvmkd serve`, the static C server and `serve.py` pass the same tests. Inherit from `Conformance`
and give it a fixture::

    class TestMyServer(Conformance):
        @pytest.fixture(scope="class")
        @classmethod
        def server(cls) -> Iterator[Server]:
            with started() as port:
                yield Server(f"http://127.0.0.1:{port}", "toy", reference=lambda x, y: [x + y])

Sources: the Open Inference Protocol (REST), Triton's binary tensor data extension, Prometheus'
text format.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

BINARY_HEADER = "Inference-Header-Content-Length"
DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16",
    "FP32": "float32", "FP64": "float64",
}  # fmt: skip
STAGES = {"queue", "copy_in", "compute", "copy_out", "total"}


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: of its REST port.
        model: the name of a model without free dimensions.
        reference: its outputs for inputs in the order of the metadata.
        max_body: bytes of a body that it takes; one more is refused with 413.
        read_s: seconds after which it gives up a request that does not arrive.
        token: that it wants; None: none.
        connections: that it can have at the same time.
        tolerance: of outputs, relative to the largest.
    """

    url: str
    model: str
    reference: Callable[..., Sequence[np.ndarray]]
    max_body: int
    read_s: float
    token: str | None = None
    connections: int = 1000
    tolerance: float = 1e-5
    _metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urllib.parse.urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def infer(self) -> str:
        """The path of inference."""
        return f"/v2/models/{self.model}/infer"

    @property
    def headers(self) -> dict[str, str]:
        """What every request needs."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def metadata(self) -> dict[str, Any]:
        """Of the model."""
        if not self._metadata:
            self._metadata.update(ask(self, "GET", f"/v2/models/{self.model}").json())
        return self._metadata

    def inputs(self, seed: int = 0) -> list[np.ndarray]:
        """Random inputs."""
        rng = np.random.default_rng(seed)
        found = []
        for spec in self.metadata()["inputs"]:
            dtype = np.dtype(DTYPES[spec["datatype"]])
            if dtype.kind == "f":
                values = rng.standard_normal(spec["shape"])
            else:
                values = rng.integers(0, 2 if dtype.kind == "b" else 100, spec["shape"])
            found.append(np.asarray(values).astype(dtype))
        return found

    def check(self, inputs: Sequence[np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Compares outputs with the reference's."""
        names = [spec["name"] for spec in self.metadata()["outputs"]]
        expected = dict(zip(names, self.reference(*inputs), strict=True))
        for name, output in outputs.items():
            scale = max(1.0, float(np.abs(np.asarray(expected[name], np.float64)).max()))
            np.testing.assert_allclose(
                output, expected[name], rtol=0, atol=self.tolerance * scale, err_msg=name
            )


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, strictly."""

        def wrong(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        return json.loads(self.body, parse_constant=wrong)

    def error(self) -> str:
        """The one line of an error."""
        content = self.json()
        assert list(content) == ["error"], content
        line = content["error"]
        assert isinstance(line, str)
        assert line
        assert "\n" not in line
        return line

    def outputs(self) -> dict[str, np.ndarray]:
        """The arrays of a successful inference, from JSON or binary."""
        assert self.status == 200, self.body[:500]
        length = self.headers.get(BINARY_HEADER.lower())
        head = len(self.body) if length is None else int(length)
        found, at = {}, head
        for entry in json.loads(self.body[:head])["outputs"]:
            dtype, shape = np.dtype(DTYPES[entry["datatype"]]), entry["shape"]
            size = entry.get("parameters", {}).get("binary_data_size")
            if size is None:
                array = np.array(entry["data"], dtype)
            else:
                assert length is not None
                assert "data" not in entry
                array = np.frombuffer(self.body[at : at + size], dtype)
                at += size
            found[entry["name"]] = array.reshape(shape)
        assert at == len(self.body)
        return found


def ask(
    server: Server,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    connection: http.client.HTTPConnection | None = None,
) -> Answer:
    """One request; a body that is an iterator is sent in chunks."""
    line = connection or http.client.HTTPConnection(*server.address, timeout=60)
    try:
        line.request(method, path, body, {**server.headers, **(headers or {})})
        response = line.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        if connection is None:
            line.close()


def request(
    server: Server,
    inputs: Sequence[np.ndarray],
    *,
    binary_in: Sequence[bool] | bool = True,
    flat: bool = True,
    **content: Any,
) -> tuple[bytes, dict[str, str]]:
    """The body of an inference and its headers.

    Args:
        server: has the model.
        inputs: in the order of the metadata.
        binary_in: whether each input is sent as bytes.
        flat: whether values in JSON are one list, or nested.
        content: further entries of the request.
    """
    many = [binary_in] * len(inputs) if isinstance(binary_in, bool) else binary_in
    entries, parts = [], []
    for spec, array, binary in zip(server.metadata()["inputs"], inputs, many, strict=True):
        entry = {key: spec[key] for key in ("name", "datatype")} | {"shape": list(array.shape)}
        if binary:
            parts.append(array.tobytes())
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = (array.ravel() if flat else array).tolist()
        entries.append(entry)
    head = json.dumps({"inputs": entries, **content}).encode()
    headers = {BINARY_HEADER: str(len(head))} if parts else {}
    return b"".join([head, *parts]), headers


def metrics(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of /metrics, by name and labels."""
    from prometheus_client.parser import text_string_to_metric_families

    answer = ask(server, "GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def total(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], name: str,
          **labels: str) -> float:  # fmt: skip
    """The sum of the samples of a name that have these labels."""
    return sum(
        value for (each, has), value in samples.items() if each == name and labels.items() <= has
    )


MALFORMED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no inputs": lambda r: r.pop("inputs"),
    "inputs are no list": lambda r: r.update(inputs={}),
    "an input is no object": lambda r: r["inputs"].append(3),
    "an input without a name": lambda r: r["inputs"][0].pop("name"),
    "a name that is no string": lambda r: r["inputs"][0].update(name=7),
    "an unknown input": lambda r: r["inputs"].append({**r["inputs"][0], "name": "nobody"}),
    "an input twice": lambda r: r["inputs"].append(r["inputs"][0]),
    "an input is missing": lambda r: r["inputs"].pop(),
    "no datatype": lambda r: r["inputs"][0].pop("datatype"),
    "a wrong datatype": lambda r: r["inputs"][0].update(datatype="INT13"),
    "no shape": lambda r: r["inputs"][0].pop("shape"),
    "another shape": lambda r: r["inputs"][0]["shape"].append(2),
    "a negative size": lambda r: r["inputs"][0].update(shape=[-1, -4]),
    "a huge size": lambda r: r["inputs"][0].update(shape=[2**63, 2**63]),
    "a size that is no integer": lambda r: r["inputs"][0].update(shape=[1.5]),
    "a shape that is no list": lambda r: r["inputs"][0].update(shape="1,4"),
    "no data": lambda r: r["inputs"][0].pop("data"),
    "too few values": lambda r: r["inputs"][0]["data"].pop(),
    "too many values": lambda r: r["inputs"][0]["data"].append(1),
    "values that are strings": lambda r: r["inputs"][0].update(
        data=["1" for _ in r["inputs"][0]["data"]]
    ),
    "values that are null": lambda r: r["inputs"][0].update(
        data=[None for _ in r["inputs"][0]["data"]]
    ),
    "values in an object": lambda r: r["inputs"][0].update(data={"0": 1}),
    "a binary size without bytes": lambda r: r["inputs"][0].update(
        parameters={"binary_data_size": 4}
    ),
    "an unknown output": lambda r: r.update(outputs=[{"name": "nobody"}]),
    "an output without a name": lambda r: r.update(outputs=[{}]),
    "outputs are no list": lambda r: r.update(outputs=7),
    "an id that is no string": lambda r: r.update(id=7),
    "parameters are no object": lambda r: r.update(parameters=[1]),
    "a timeout that is no number": lambda r: r.update(parameters={"timeout": "soon"}),
}
TOO_LARGE = ("1e39", "-1e39", "1e400", "9" * 400)
"""Numbers that FP32 lacks: not infinite, as C would have them."""
NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "a word": b"hello",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "cut short": b'{"inputs": [{"name": ',
    "no UTF-8": b'{"inputs": "\xff\xfe"}',
    "an infinite number": b'{"inputs": [{"name": "x", "data": [Infinity]}]}',
    "two objects": b"{} {}",
    "half of a surrogate pair": b'{"id": "\\ud800", "inputs": []}',
    "deep lists": b'{"inputs": ' + b"[" * 30_000,
    "deep objects": b'{"a":' * 30_000,
    "many digits": b'{"inputs": ' + b"9" * 30_000 + b"}",
    "bytes of zero": bytes(1000),
}


class Conformance:
    """The tests; see the module."""

    @pytest.fixture
    def alive(self, server: Server) -> Iterator[None]:
        """After the test the server must still answer rightly."""
        yield
        inputs = server.inputs(99)
        body, headers = request(server, inputs, parameters={"binary_data_output": True})
        server.check(inputs, ask(server, "POST", server.infer, body, headers).outputs())

    # Health and metadata.

    @pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
    def test_health(self, server: Server, path: str) -> None:
        assert ask(server, "GET", path).status == 200

    def test_the_server_describes_itself(self, server: Server) -> None:
        content = ask(server, "GET", "/v2").json()
        assert content["name"]
        assert content["version"]
        assert "binary_tensor_data" in content["extensions"]

    def test_the_model_describes_itself(self, server: Server) -> None:
        answer = ask(server, "GET", f"/v2/models/{server.model}")
        assert answer.headers["content-type"].startswith("application/json")
        content = answer.json()
        assert content["name"] == server.model
        assert content["versions"]
        assert content["platform"]
        for spec in (*content["inputs"], *content["outputs"]):
            assert spec["name"]
            assert spec["datatype"] in DTYPES
            assert all(size > 0 for size in spec["shape"])
        version = content["versions"][-1]
        path = f"/v2/models/{server.model}/versions/{version}"
        assert ask(server, "GET", path).json() == content
        for each in (f"/v2/models/{server.model}", path):
            assert ask(server, "GET", f"{each}/ready").status == 200

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v2/models/nobody", 404),
            ("GET", "/v2/models/nobody/ready", 404),
            ("GET", "/v2/models/{}/versions/77", 404),
            ("POST", "/v2/models/nobody/infer", 404),
            ("POST", "/v2/models/{}/versions/77/infer", 404),
            ("GET", "/v2/nobody", 404),
            ("GET", "/../../etc/passwd", 404),
            ("GET", "/v2/models/{}/infer", 405),
            ("DELETE", "/v2/health/live", 405),
        ],
    )
    def test_what_is_not_there(
        self, server: Server, alive: None, method: str, path: str, status: int
    ) -> None:
        answer = ask(server, method, path.format(server.model), b"{}" if method == "POST" else None)
        assert answer.status == status
        answer.error()

    # Inference.

    @pytest.mark.parametrize("flat", [True, False])
    def test_json(self, server: Server, flat: bool) -> None:
        inputs = server.inputs()
        body, headers = request(server, inputs, binary_in=False, flat=flat, id="a 7")
        answer = ask(server, "POST", server.infer, body, headers)
        assert answer.headers["content-type"].startswith("application/json")
        assert BINARY_HEADER.lower() not in answer.headers
        server.check(inputs, answer.outputs())
        content, metadata = answer.json(), server.metadata()
        assert (content["model_name"], content["id"]) == (server.model, "a 7")
        assert content["model_version"] in metadata["versions"]
        assert [each["name"] for each in content["outputs"]] == [
            each["name"] for each in metadata["outputs"]
        ]

    @pytest.mark.parametrize("output", [True, False])
    def test_binary(self, server: Server, output: bool) -> None:
        inputs = server.inputs(1)
        body, headers = request(server, inputs, parameters={"binary_data_output": output})
        answer = ask(server, "POST", server.infer, body, headers)
        server.check(inputs, answer.outputs())
        assert (BINARY_HEADER.lower() in answer.headers) is output

    def test_each_output_says_whether_it_is_binary(self, server: Server) -> None:
        inputs = server.inputs(2)
        names = [each["name"] for each in server.metadata()["outputs"]][::-1]
        outputs = [
            {"name": name, "parameters": {"binary_data": number % 2 == 0}}
            for number, name in enumerate(names)
        ]
        body, headers = request(server, inputs, outputs=outputs)
        answer = ask(server, "POST", server.infer, body, headers)
        found = answer.outputs()
        assert list(found) == names
        server.check(inputs, found)
        head = json.loads(answer.body[: int(answer.headers[BINARY_HEADER.lower()])])
        for number, each in enumerate(head["outputs"]):
            assert ("data" in each) is (number % 2 == 1)

    def test_one_output_alone(self, server: Server) -> None:
        inputs, name = server.inputs(3), server.metadata()["outputs"][-1]["name"]
        body, headers = request(server, inputs, outputs=[{"name": name}])
        found = ask(server, "POST", server.infer, body, headers).outputs()
        assert list(found) == [name]
        server.check(inputs, found)

    def test_a_list_without_outputs_means_all(self, server: Server) -> None:
        inputs, names = server.inputs(3), [each["name"] for each in server.metadata()["outputs"]]
        body, headers = request(server, inputs, outputs=[])
        found = ask(server, "POST", server.infer, body, headers).outputs()
        assert list(found) == names
        server.check(inputs, found)

    def test_inputs_in_another_order_and_form(self, server: Server) -> None:
        inputs = server.inputs(4)
        binary = [number % 2 == 1 for number in range(len(inputs))]
        body, headers = request(server, inputs, binary_in=binary)
        length = int(headers.get(BINARY_HEADER, len(body)))
        content = json.loads(body[:length])
        if sum(binary) < 2:
            content["inputs"].reverse()
        head = json.dumps(content).encode()
        if headers:
            headers[BINARY_HEADER] = str(len(head))
        answer = ask(server, "POST", server.infer, head + body[length:], headers)
        server.check(inputs, answer.outputs())

    def test_a_version(self, server: Server) -> None:
        version = server.metadata()["versions"][-1]
        inputs = server.inputs(5)
        body, headers = request(server, inputs)
        path = f"/v2/models/{server.model}/versions/{version}/infer"
        answer = ask(server, "POST", path, body, headers)
        server.check(inputs, answer.outputs())

    def test_one_connection_serves_many_requests(self, server: Server) -> None:
        line = http.client.HTTPConnection(*server.address, timeout=60)
        with contextlib.closing(line):
            for seed in range(20):
                inputs = server.inputs(seed)
                body, headers = request(server, inputs, parameters={"binary_data_output": True})
                answer = ask(server, "POST", server.infer, body, headers, line)
                server.check(inputs, answer.outputs())
                assert answer.headers.get("connection", "keep-alive") != "close"

    def test_a_body_in_chunks(self, server: Server, alive: None) -> None:
        inputs = server.inputs(6)
        body, headers = request(server, inputs)
        parts = (body[at : at + 37] for at in range(0, len(body), 37))
        answer = ask(server, "POST", server.infer, parts, headers)
        server.check(inputs, answer.outputs())

    def test_a_request_in_pieces(self, server: Server) -> None:
        inputs = server.inputs(7)
        body, headers = request(server, inputs)
        raw = raw_request(server, body, headers)
        with socket.create_connection(server.address, timeout=60) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(raw), max(1, len(raw) // 13)):
                line.sendall(raw[at : at + max(1, len(raw) // 13)])
                time.sleep(0.005)
            server.check(inputs, read_answer(line).outputs())

    def test_requests_that_do_not_wait_for_answers(self, server: Server) -> None:
        many = [server.inputs(seed) for seed in range(3)]
        raw = b"".join(raw_request(server, *request(server, inputs)) for inputs in many)
        with socket.create_connection(server.address, timeout=60) as line:
            line.sendall(raw)
            for inputs in many:
                server.check(inputs, read_answer(line).outputs())

    def test_a_client_that_expects_100_continue(self, server: Server) -> None:
        inputs = server.inputs(8)
        body, headers = request(server, inputs)
        raw = raw_request(server, body, {**headers, "Expect": "100-continue"})
        head = raw[: len(raw) - len(body)]
        with socket.create_connection(server.address, timeout=60) as line:
            line.sendall(head)
            assert line.recv(4096).startswith(b"HTTP/1.1 100 ")
            line.sendall(body)
            server.check(inputs, read_answer(line).outputs())

    def test_clients_at_the_same_time_get_their_own_answers(self, server: Server) -> None:
        failures: list[BaseException] = []
        server.metadata()

        def client(number: int) -> None:
            try:
                for seed in range(10):
                    inputs = server.inputs(1000 * number + seed)
                    answer = ask(server, "POST", server.infer, *request(server, inputs))
                    server.check(inputs, answer.outputs())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_what_cannot_be_done_in_time_is_refused_at_once(
        self, server: Server, alive: None
    ) -> None:
        body, headers = request(server, server.inputs())
        for _ in range(3):  # so that the server knows how long it takes
            assert ask(server, "POST", server.infer, body, headers).status == 200
        body, headers = request(server, server.inputs(), parameters={"timeout": 1})
        answer = ask(server, "POST", server.infer, body, headers)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        version = server.metadata()["versions"][-1]
        label = f"model '{server.model}' version '{version}': "
        pattern = re.escape(label) + r"a call alone takes about \d+\.\d\d ms, so this one would "
        assert re.match(pattern + "miss its deadline; allow more time$", answer.error())
        # In microseconds: an hour is enough.
        body, headers = request(server, server.inputs(), parameters={"timeout": 3_600_000_000})
        assert ask(server, "POST", server.infer, body, headers).status == 200

    # Wrong requests.

    @pytest.mark.parametrize("what", MALFORMED)
    def test_a_wrong_request(self, server: Server, alive: None, what: str) -> None:
        body, headers = request(server, server.inputs(), binary_in=False)
        content = json.loads(body)
        MALFORMED[what](content)
        answer = ask(server, "POST", server.infer, json.dumps(content).encode(), headers)
        assert answer.status == 400, answer.body[:500]
        answer.error()

    @pytest.mark.parametrize("number", TOO_LARGE)
    def test_a_number_that_is_too_large(self, server: Server, alive: None, number: str) -> None:
        specs = server.metadata()["inputs"]
        at = [spec["datatype"] for spec in specs].index("FP32")
        body, _ = request(server, server.inputs(), binary_in=False)
        content = json.loads(body)
        content["inputs"][at]["data"][-1] = "here"
        body = json.dumps(content).replace('"here"', number).encode()
        answer = ask(server, "POST", server.infer, body)
        assert answer.status == 400, answer.body[:500]
        assert "values outside of FP32" in answer.error()

    def test_an_id_with_half_of_a_surrogate_pair(self, server: Server, alive: None) -> None:
        for name, status in (("\\ud83d\\ude00", 200), ("\\ud83d", 400), ("\\ude00", 400)):
            body, _ = request(server, server.inputs(), binary_in=False, id="here")
            body = body.replace(b'"here"', f'"{name}"'.encode())
            answer = ask(server, "POST", server.infer, body)
            assert answer.status == status, answer.body[:500]
            if status == 200:
                assert answer.json()["id"] == "\N{GRINNING FACE}"

    @pytest.mark.parametrize("what", NO_JSON)
    def test_no_json(self, server: Server, alive: None, what: str) -> None:
        answer = ask(server, "POST", server.infer, NO_JSON[what])
        assert answer.status == 400, answer.body[:500]
        answer.error()

    @pytest.mark.parametrize("change", [-1, 1, 1000])
    def test_a_binary_part_of_another_length(
        self, server: Server, alive: None, change: int
    ) -> None:
        body, headers = request(server, server.inputs())
        body = body[:change] if change < 0 else body + bytes(change)
        answer = ask(server, "POST", server.infer, body, headers)
        assert answer.status == 400
        answer.error()

    @pytest.mark.parametrize("length", ["-1", "x", "", "1e2", "0", "1", "99999999", "9" * 40])
    def test_a_wrong_length_of_the_json_part(
        self, server: Server, alive: None, length: str
    ) -> None:
        body, _ = request(server, server.inputs())
        answer = ask(server, "POST", server.infer, body, {BINARY_HEADER: length})
        assert answer.status == 400
        answer.error()

    @pytest.mark.parametrize(
        "raw",
        [
            b"hello\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
            b"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
            b"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\na",
            b"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /v2 HTTP/9.9\r\n\r\n",
            b"GET /v2 HTTP/1.1\r\nbad header\r\n\r\n",
        ],
    )
    def test_no_http(self, server: Server, alive: None, raw: bytes) -> None:
        with socket.create_connection(server.address, timeout=60) as line:
            line.sendall(raw.replace(b"{path}", server.infer.encode()))
            status = line.recv(4096).split(b" ")[1:2]
            # A server may close the connection of what is no HTTP, but not answer with success.
            assert status in ([], [b"400"], [b"401"], [b"413"], [b"505"])

    # Limits.

    def test_a_body_that_is_too_long(self, server: Server, alive: None) -> None:
        with socket.create_connection(server.address, timeout=60) as line:
            raw = raw_request(server, b"", {"Content-Length": str(server.max_body + 1)})
            line.sendall(raw)
            answer = read_answer(line)
        assert answer.status == 413
        answer.error()

    def test_a_body_that_never_ends(self, server: Server, alive: None) -> None:
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        sent = 0
        with socket.create_connection(server.address, timeout=60) as line:
            line.sendall(raw_request(server, None, {"Transfer-Encoding": "chunked"}))
            with contextlib.suppress(OSError):  # it has closed the connection
                while sent < server.max_body + 2**28:
                    line.sendall(chunk)
                    sent += 0x10000
        assert sent < server.max_body + 2**28

    def test_headers_that_never_end(self, server: Server, alive: None) -> None:
        with socket.create_connection(server.address, timeout=60) as line:
            line.sendall(b"GET /v2 HTTP/1.1\r\n")
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 2**24:
                    line.sendall(b"x-more: " + b"a" * 1000 + b"\r\n")
                    sent += 1010
        assert sent < 2**24

    def test_headers_that_are_too_long(self, server: Server, alive: None) -> None:
        with socket.create_connection(server.address, timeout=60) as line:
            with contextlib.suppress(OSError):
                line.sendall(b"GET /v2 HTTP/1.1\r\nx-more: " + b"a" * 70_000 + b"\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(4096).split(b" ")[1:2] in ([], [b"431"], [b"400"])

    @pytest.mark.parametrize("sent", ["", "POST /v2 HT", "head", "half"])
    def test_a_client_that_sends_no_more(self, server: Server, alive: None, sent: str) -> None:
        body, headers = request(server, server.inputs())
        raw = raw_request(server, body, headers)
        if sent == "head":
            raw = raw[: len(raw) - len(body)]
        elif sent == "half":
            raw = raw[:-3]
        else:
            raw = sent.encode()
        with socket.create_connection(server.address, timeout=3 * server.read_s + 10) as line:
            line.sendall(raw)
            start = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                answer = line.recv(4096)
                assert not answer or answer.split(b" ")[1] == b"408"
            assert time.monotonic() - start < 2 * server.read_s + 5

    def test_a_client_that_sends_slowly(self, server: Server, alive: None) -> None:
        with socket.create_connection(server.address, timeout=60) as line:
            line.sendall(b"GET /v2 HTTP/1.1\r\n")
            start = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - start < 3 * server.read_s + 5:
                    line.sendall(b"x: y\r\n")
                    time.sleep(0.1)
            assert time.monotonic() - start < 2 * server.read_s + 5

    def test_many_connections(self, server: Server, alive: None) -> None:
        lines: list[socket.socket] = []
        try:
            while len(lines) < server.connections:
                lines.append(socket.create_connection(server.address, timeout=60))
            for line in lines:
                line.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for line in lines:
                assert line.recv(4096).startswith(b"HTTP/1.1 200 ")
        finally:
            for line in lines:
                line.close()

    # The token.

    def test_the_token(self, server: Server) -> None:
        if server.token is None:
            pytest.skip("this server wants no token")
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic x"}):
            line = http.client.HTTPConnection(*server.address, timeout=60)
            with contextlib.closing(line):
                line.request("GET", f"/v2/models/{server.model}", headers=headers)
                assert line.getresponse().status == 401
        line = http.client.HTTPConnection(*server.address, timeout=60)
        with contextlib.closing(line):
            line.request("GET", "/v2/health/live")
            assert line.getresponse().status == 200

    # Metrics.

    def test_requests_are_counted(self, server: Server) -> None:
        before = metrics(server)
        for _ in range(5):
            ask(server, "POST", server.infer, *request(server, server.inputs()))
        after = metrics(server)
        labels = {"model": server.model}
        name = "tvmkd_inference_requests_total"
        assert total(after, name, **labels) - total(before, name, **labels) == 5
        for stage in STAGES:
            for end in ("_count", "_bucket"):
                found = f"tvmkd_inference_duration_seconds{end}"
                chosen = {**labels, "stage": stage} | ({"le": "+Inf"} if end == "_bucket" else {})
                assert total(after, found, **chosen) - total(before, found, **chosen) == 5
        seconds = "tvmkd_inference_duration_seconds_sum"
        assert 0 < total(after, seconds, **labels, stage="total") < 600
        assert total(after, "tvmkd_inference_queue_length", **labels) == 0
        assert total(after, "tvmkd_model_ready", **labels) == 1
        version = {"model": server.model, "version": server.metadata()["versions"][-1]}
        assert total(after, "tvmkd_model_info", **version) == 1

    def test_errors_are_counted_by_kind(self, server: Server) -> None:
        before = metrics(server)
        for _ in range(3):
            ask(server, "POST", server.infer, b"{}")
        after, name = metrics(server), "tvmkd_inference_errors_total"
        chosen = {"model": server.model, "kind": "invalid"}
        assert total(after, name, **chosen) - total(before, name, **chosen) == 3

    # A client that many people use.

    @pytest.mark.parametrize("binary", [True, False])
    def test_tritonclient(self, server: Server, binary: bool) -> None:
        triton = pytest.importorskip("tritonclient.http")
        host, port = server.address
        headers = server.headers
        with contextlib.closing(triton.InferenceServerClient(f"{host}:{port}")) as client:
            assert client.is_server_live(headers)
            assert client.is_server_ready(headers)
            assert client.is_model_ready(server.model, headers=headers)
            metadata = client.get_model_metadata(server.model, headers=headers)
            arrays = server.inputs(11)
            inputs = []
            for spec, array in zip(metadata["inputs"], arrays, strict=True):
                inputs.append(triton.InferInput(spec["name"], spec["shape"], spec["datatype"]))
                inputs[-1].set_data_from_numpy(array, binary_data=binary)
            names = [spec["name"] for spec in metadata["outputs"]]
            outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
            result = client.infer(server.model, inputs, outputs=outputs, headers=headers)
            server.check(arrays, {name: result.as_numpy(name) for name in names})
            wrong = triton.InferRequestedOutput("nobody")
            with pytest.raises(triton.InferenceServerException, match="nobody"):
                client.infer(server.model, inputs, outputs=[wrong], headers=headers)


def raw_request(server: Server, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    """An inference as it is sent; without a body there is no Content-Length."""
    host, port = server.address
    lines = {"Host": f"{host}:{port}", **server.headers}
    if body is not None:
        lines["Content-Length"] = str(len(body))
    lines |= headers
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {server.infer} HTTP/1.1\r\n{text}\r\n".encode() + (body or b"")


def read_answer(line: socket.socket) -> Answer:
    """One response, no byte more: another may follow. 100 Continue is passed over.

    Raises:
        EOFError: the connection ended before.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(line, 1)
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin1").split("\r\n")
    if status.split(" ")[1] == "100":
        return read_answer(line)
    headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    while len(body) < int(headers.get("content-length", "0")):
        body += _more(line, int(headers["content-length"]) - len(body))
    return Answer(int(status.split(" ")[1]), headers, body)


def _more(line: socket.socket, most: int) -> bytes:
    piece = line.recv(most)
    if not piece:
        raise EOFError("the connection ended before its answer")
    return piece
