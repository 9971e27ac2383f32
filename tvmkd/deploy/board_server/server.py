"""What the server does for which path, and who may ask."""

import asyncio
import collections
import hmac
import json
import re
import time
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import unquote

from .codec import LENGTH, invalid, parameters_of, parse_json, read_request, write_response
from .connection import Answer, Connection, Headers
from .instance import Request
from .lesson import Lesson
from .metrics import write_metrics
from .model import Model
from .protocol import JSON_TYPE, MAX_CONTROL, Fault

MODEL = r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?"
ROUTES = (
    ("POST", "infer", MODEL + "/infer"),
    ("GET", "live", "/v2/health/live"),
    ("GET", "ready", "/v2/health/ready"),
    ("GET", "server", "/v2"),
    ("GET", "model", MODEL),
    ("GET", "model_ready", MODEL + "/ready"),
    ("POST", "learn", MODEL + "/learn"),
    ("GET", "learned", MODEL + "/learn"),
    ("POST", "update", MODEL + "/learn/update"),
    ("POST", "rollback", MODEL + "/learn/rollback"),
    ("POST", "index", "/v2/repository/index"),
    ("POST", "load", "/v2/repository/models/(?P<name>[^/]+)/load"),
    ("POST", "unload", "/v2/repository/models/(?P<name>[^/]+)/unload"),
    ("GET", "metrics", "/metrics"),
)
PATTERNS = [(method, route, re.compile(pattern)) for method, route, pattern in ROUTES]
LOCAL = ("localhost", "127.0.0.1", "[::1]")


def route_of(method: str, target: str) -> Tuple[str, Dict[str, str]]:
    """The route of a path, and the names in it."""
    path, known = unquote(target.partition("?")[0]), False
    for wanted, route, pattern in PATTERNS:
        match = pattern.fullmatch(path)
        if match is not None:
            known = True
            if method == wanted or (method == "HEAD" and wanted == "GET"):
                return route, {key: value or "" for key, value in match.groupdict().items()}
    if known:
        raise Fault("method", "%s: not with %s" % (path[:128], method[:16]))
    raise Fault("not_found", "there is no %s; the protocol's paths begin with /v2" % path[:128])


def as_json(content: Any) -> Answer:
    """A response in JSON."""
    return 200, [JSON_TYPE], json.dumps(content).encode()


class Server:
    """The server.

    Args:
        models: by name.
        options: the command line's.
        token: that clients must send; None: none.
        loopback: whether only this machine can ask.
        control: whether clients may load and unload models.
        version: of tvmkd.
    """

    def __init__(self, models: Dict[str, Model], options: Any, token: Optional[str], loopback: bool,
                 control: bool, version: str) -> None:  # fmt: skip
        self.models, self.options, self.token = models, options, token
        self.loopback, self.control, self.version = loopback, control, version
        self.refused: collections.Counter[str] = collections.Counter()
        self.connections: Dict[Connection, Any] = {}
        self.stopping, self.started = False, time.monotonic()

    async def on_client(self, reader: Any, writer: Any) -> None:
        """A new connection."""
        connection = Connection(reader, writer, self)
        if len(self.connections) >= self.options.connections:
            fault = Fault("unavailable", "too many connections; close some first", 1)
            await connection.refuse(fault, False)
            writer.close()
            return
        self.connections[connection] = None
        try:
            await connection.serve()
        finally:
            del self.connections[connection]

    async def sweep(self) -> None:
        """Ends slow clients and what hangs, for ever."""
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.sweep(now)
            for model in self.models.values():
                for each in model.instances:
                    if each.busy and now - each.asked > self.options.hang:
                        each.kill("it hung and was killed")

    def model(self, name: str, version: str = "") -> Model:
        """A loaded model."""
        found = self.models.get(name)
        if found is None:
            names = ", ".join(self.models)
            raise Fault("not_found", "there is no model %r (models: %s)" % (name[:64], names))
        if not found.loaded and self.stopping:
            raise Fault("stopping", "the server is being stopped; ask again", 1)
        if not found.loaded:
            raise Fault("not_found", "model %r is not loaded" % name)
        if version not in ("", "1"):
            raise Fault("not_found", "model %r: version %r is not loaded" % (name, version[:64]))
        return found

    def check(self, headers: Headers) -> None:
        """Refuses who may not ask."""
        if self.token is not None:
            kind, _, given = headers.get("authorization", "").partition(" ")
            good = hmac.compare_digest(given.strip().encode("latin1"), self.token.encode())
            if kind.lower() != "bearer" or not good:
                raise Fault("unauthorized", "send the server's token: Authorization: Bearer TOKEN")
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is None:
            return
        if origin.rpartition("//")[2].lower() != host.lower():
            raise Fault("forbidden", "pages of other web sites may not use this server")
        # A name of somebody else's that resolves to 127.0.0.1 (DNS rebinding).
        name = re.sub(r":\d+$", "", host).lower()
        if self.loopback and self.token is None and name not in LOCAL:
            raise Fault("forbidden", "this server is not called " + host[:64])

    def begin(self, connection: Connection, method: str, target: str, headers: Headers) -> int:
        """Looks at a request's head: refuses it, or returns how long its body may be."""
        route, names = route_of(method, target)
        if route in ("live", "ready"):
            return MAX_CONTROL
        if route not in ("infer", "learn"):
            self.check(headers)
            return MAX_CONTROL
        model = self.models.get(names["name"])
        if model is not None and model.loaded and names["version"] in ("", "1"):
            model.statistics.requests += 1
            connection.counted_to = model.statistics
        self.check(headers)
        self.model(**names)
        if route == "learn":
            self.lesson_of(self.model(**names), route)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Fault("encoding", "compressed requests are not supported")
        length = headers.get(LENGTH, "0")
        if not length.isdigit() or len(length) > 18:
            raise invalid("Inference-Header-Content-Length: expected one number of bytes")
        return int(self.options.max_body * 2**20)

    async def answer(self, connection: Connection, method: str, target: str, headers: Headers,
                     body: bytes) -> Answer:  # fmt: skip
        """The response to a request whose body is complete."""
        route, names = route_of(method, target)
        if route == "infer":
            return await self.infer(self.model(**names), headers, body, connection.began)
        if route == "live":
            return 200, [], b""
        if route == "ready":
            ready = not self.stopping and all(m.ready for m in self.models.values() if m.loaded)
            return (200 if ready else 400), [], b""
        if route == "server":
            extensions = ["binary_tensor_data", "model_repository", "schedule_policy"]
            return as_json({"name": "tvmkd", "version": self.version, "extensions": extensions})
        if route == "metrics":
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return 200, [("content-type", kind)], write_metrics(self)
        if route == "model":
            return as_json(self.metadata(self.model(**names)))
        if route in ("learn", "learned", "update", "rollback"):
            return await self.learn(route, self.model(**names), headers, body, connection.began)
        if route == "model_ready":
            return (200 if self.model(**names).ready else 400), [], b""
        content = parse_json(body) if body else {}
        if route == "index":
            return as_json(self.index(content))
        return await self.load(route, names["name"])

    @staticmethod
    def metadata(model: Model) -> Dict[str, Any]:
        """The protocol's description of a model."""
        keys, lesson = ("name", "datatype", "shape"), model.lesson
        learns = lesson is not None and lesson.fits(model.facts)
        facts = lesson.describe(model.facts) if learns else model.facts
        found: Dict[str, Any] = {"name": model.name, "versions": ["1"]}
        found["platform"] = "tvmkd_standalone"
        for kind in ("inputs", "outputs"):
            found[kind] = [{key: each[key] for key in keys} for each in facts[kind]]
        return found

    def index(self, content: Dict[str, Any]) -> List[Dict[str, str]]:
        """All models, and whether they are loaded."""
        only_ready = content.get("ready", False)
        if not isinstance(only_ready, bool):
            raise invalid("ready: has to be true or false")
        rows = []
        for model in self.models.values():
            state = "READY" if model.ready else "UNAVAILABLE"
            reason = "" if model.ready else model.failure or "not loaded"
            if model.ready or not only_ready:
                rows.append({"name": model.name, "version": "1", "state": state, "reason": reason})
        return rows

    async def load(self, route: str, name: str) -> Answer:
        """Loads a model again, or unloads it."""
        if not self.control:
            text = "loading and unloading is off; start serve.py with --model-control"
            raise Fault("forbidden", text)
        model = self.models.get(name)
        if model is None:
            self.model(name)
        assert model is not None
        if route == "load":
            await model.load()
        else:
            await model.drain(30)
        return as_json({})

    async def infer(self, model: Model, headers: Headers, body: bytes, arrived: float) -> Answer:
        """Runs a model."""
        plan, outputs, exit_taken = await self.run(model, headers, body, arrived)
        facts = model.facts
        if model.lesson is not None and model.lesson.fits(facts):
            facts, outputs = model.lesson.answer(facts, outputs)
        size, answer = write_response(model.name, facts, plan, outputs, exit_taken)
        if not size:
            return 200, [JSON_TYPE], answer
        kind = ("content-type", "application/octet-stream")
        return 200, [kind, (LENGTH, str(size))], answer

    async def learn(self, route: str, model: Model, headers: Headers, body: bytes,
                    arrived: float) -> Answer:  # fmt: skip
        """Adds a labelled example, begins an update, goes back to the shipped head, or tells."""
        lesson = self.lesson_of(model, route)
        if route == "learn":
            label = parameters_of(parse_json(body[: self.head_length(headers, body)])).get("label")
            if type(label) is not int or abs(label) >= 2**31:
                raise invalid("parameters: label has to be the number of a class")
            outputs = (await self.run(model, headers, body, arrived))[1]
            lesson.add(outputs, label)
        elif route == "update":
            lesson.begin()
        elif route == "rollback":
            lesson.rollback()
        return as_json(lesson.status())

    def lesson_of(self, model: Model, route: str) -> Lesson:
        """A model's head that learns, if clients may use it."""
        lesson: Optional[Lesson] = model.lesson
        if lesson is None:
            text = "%s does not learn; start serve.py with --learn and its head.bin" % model.label
            raise Fault("forbidden", text)
        if route != "learned" and not self.loopback and self.token is None:
            text = "every machine could teach the model; start serve.py with --token-file"
            raise Fault("forbidden", text)
        if not lesson.fits(model.facts):
            text = ": the library was replaced by another, to which the head does not belong"
            raise Fault("forbidden", model.label + text)
        return lesson

    @staticmethod
    def head_length(headers: Headers, body: bytes) -> int:
        """Bytes of a request's JSON part."""
        head = int(headers[LENGTH]) if LENGTH in headers else len(body)
        if head > len(body):
            text = "the JSON part should have %d bytes; the body has %d" % (head, len(body))
            raise invalid(text)
        return head

    async def run(self, model: Model, headers: Headers, body: bytes,
                  arrived: float) -> Tuple[Dict[str, Any], List[bytes], int]:  # fmt: skip
        """What a request wants, the model's outputs, and the exit that was taken."""
        plan = read_request(model.facts, body, self.head_length(headers, body))
        timeout = plan["timeout"] or self.options.timeout / 1e3
        request = Request(plan, arrived, arrived + timeout if timeout else 0.0)
        model.submit(request)
        outputs, exit_taken = await request.done
        return plan, outputs, exit_taken
