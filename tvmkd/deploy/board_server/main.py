"""The command line; its words are those of ``tvmkd serve``."""

import argparse
import asyncio
import ipaddress
import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

from .lesson import Lesson, assign, make_lessons
from .library import open_library, run_instance, text_of
from .model import Model
from .protocol import MAX_HEAD, STOP_S, Fault, say
from .server import Server

TVMKD_VERSION = "unknown"


def cpus_of(text: str) -> List[int]:
    """0,2-3 as a list."""
    found: List[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise argparse.ArgumentTypeError("wants CPUs such as 0,2-3")
        found += range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1)
    return found


def parse_options(argv: List[str]) -> Any:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="serve.py",
        description="Serves standalone libraries over REST: the Open Inference Protocol "
        "(KServe v2). There is no TLS: put it behind a proxy that has it.")  # fmt: skip
    add = parser.add_argument
    add("libraries", nargs="+", metavar="LIB.so")
    add("--name", action="append", default=[], help="for each library in turn; default: its own")
    add("--host", default="127.0.0.1")
    add("--http-port", type=int, default=8000)
    add("--instances", type=int, default=1, help="processes for each model")
    add("--cpus", type=cpus_of, default=[], help="to pin the instances to, such as 0,2-3")
    add("--threads", type=int, default=0, help="of an instance; default: its CPUs")
    add("--queue", type=int, default=64, help="requests that may wait for each model")
    add("--timeout", type=float, default=0, metavar="MS", help="if a request itself gives none")
    add("--hang", type=float, default=60, metavar="S", help="after which a run is ended")
    add("--max-body", type=float, default=64, metavar="MIB")
    add("--read-timeout", type=float, default=30, metavar="S")
    add("--connections", type=int, default=1024)
    add("--token-file", help="with the token that clients must send")
    add("--model-control", dest="control", action="store_true", default=None)
    add("--no-model-control", dest="control", action="store_false")
    add(
        "--learn",
        action="append",
        default=[],
        metavar="HEAD.bin",
        help="let clients teach the model that tvmkd deploy learn made it for; needs numpy",
    )
    add("--learn-state", metavar="DIR", help="keep there what is learned; default: nothing is")
    add(
        "--learn-after",
        type=int,
        default=64,
        metavar="N",
        help="new examples after which an update begins; 0: only when asked",
    )
    add(
        "--max-forgetting",
        type=float,
        metavar="SHARE",
        help="of the shipped held-back examples that may become wrong; default: 0.05",
    )
    add(
        "--max-contradiction",
        type=float,
        metavar="SHARE",
        help="of new examples of known classes about which the head is sure that may have another "
        "label; default: 0.5",
    )
    add("--json", action="store_true", help="print one line of JSON once it listens")
    return parser.parse_args(argv)


def fail(code: int, text: str) -> None:
    """Ends the program."""
    say(text)
    sys.exit(code)


def read_token(path: str) -> str:
    """The token in a file: its only word."""
    words: List[str] = []
    try:
        with open(path, encoding="ascii") as file:
            words = file.read().split()
            open_to_all = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
    except (OSError, ValueError) as error:
        fail(4, "%s: cannot be read as a token: %s" % (path, error))
    if len(words) != 1 or len(words[0]) < 16:
        fail(4, "%s: expected one word of at least 16 characters" % path)
    if open_to_all:
        say(path + ": every user of this machine can read the token; chmod 600 it")
    return words[0]


def find_models(options: Any) -> Dict[str, Model]:
    """The models, by name."""
    if len(options.name) > len(options.libraries):
        fail(2, "%d names for %d libraries" % (len(options.name), len(options.libraries)))
    models: Dict[str, Model] = {}
    for number, path in enumerate(options.libraries):
        name = options.name[number] if number < len(options.name) else name_of(path)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
            fail(
                2,
                "%s: the name %r cannot be part of a URL; give another with --name" % (path, name),
            )
        if name in models:
            fail(2, "two libraries are called %r; give other names with --name" % name)
        if not os.path.isfile(path):
            fail(4, path + ": there is no such library")
        models[name] = Model(path, name, options)
    return models


def name_of(path: str) -> str:
    """What a library calls its model, asked in another process; or its file's name."""
    command = [sys.executable, os.path.abspath(__file__), "--name-of", path]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "replace")
    return re.sub(r"^lib(.+)\.so$", r"\1", os.path.basename(path))


def lessons_of(options: Any) -> List[Lesson]:
    """The heads of ``--learn``."""
    if not 0 <= options.learn_after <= 512:
        fail(2, "--learn-after %d: has to be from 0 to 512" % options.learn_after)
    try:
        return make_lessons(options)
    except ImportError as error:
        fail(5, "--learn needs numpy, and tvmkd_learner.py beside serve.py: %s; install "
             "python3-numpy" % error)  # fmt: skip
    except (OSError, ValueError) as error:
        fail(4, "--learn: %s" % error)
    return []


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listening(host: str, port: int) -> socket.socket:
    """The listening socket."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM)[0]  # fmt: skip
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
    except (OSError, OverflowError) as error:
        fail(
            5,
            "cannot listen at %s:%d: %s; give another --http-port or --host" % (host, port, error),
        )
    return sock


async def serve(options: Any, models: Dict[str, Model], sock: socket.socket, token: Optional[str],
                lessons: List[Lesson]) -> int:  # fmt: skip
    """Serves until SIGTERM or Ctrl-C; then finishes what was accepted."""
    loop = asyncio.get_event_loop()
    loopback = is_loopback(options.host)
    control = options.control if options.control is not None else loopback or token is not None
    server = Server(models, options, token, loopback, control, TVMKD_VERSION)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload_models, server)
    try:
        for model in models.values():
            await model.load()
        assign(lessons, models)
    except (Fault, ValueError) as fault:
        say(str(fault))
        for model in models.values():
            await model.drain(0)
        return 4
    listener = await asyncio.start_server(
        server.on_client, sock=sock, limit=MAX_HEAD, backlog=2048)  # fmt: skip
    sweeping = loop.create_task(server.sweep())
    port = sock.getsockname()[1]
    url = "http://%s:%d" % ("[%s]" % options.host if ":" in options.host else options.host, port)
    facts = {"host": options.host, "http_port": port, "scheme": "http", "url": url,
             "models": list(models)}  # fmt: skip
    print(json.dumps(facts) if options.json else "%s: %s" % (", ".join(models), url), flush=True)
    await stop.wait()
    server.stopping = True
    listener.close()
    await asyncio.gather(*(model.drain(STOP_S) for model in models.values()))
    end = time.monotonic() + 1
    # A request that is on its way gets an answer: that the server stops.
    while time.monotonic() < end and any(
        c.state in ("head", "body", "busy", "writing") for c in server.connections
    ):
        await asyncio.sleep(0.01)
    sweeping.cancel()
    for lesson in lessons:
        lesson.stop()
    for connection in list(server.connections):
        connection.writer.transport.abort()
    await asyncio.sleep(0)
    return 0


def reload_models(server: Server) -> None:
    """SIGHUP: loads all models again."""

    async def load(model: Model) -> None:
        try:
            await model.load()
        except Fault as fault:
            say(fault.message)

    for model in server.models.values():
        asyncio.ensure_future(load(model))  # noqa: RUF006 - ends by itself


def main(argv: List[str]) -> int:
    """Runs the program; returns its exit code."""
    if argv[:1] == ["--instance"]:
        path, control, memory, threads = argv[1], *map(int, argv[2:5])
        # A signal to the whole group: the server ends its instances when they are done.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, control) as sock:
            run_instance(path, sock, memory, threads)
        return 0
    if argv[:1] == ["--name-of"]:
        try:
            sys.stdout.write(text_of(open_library(argv[1]).name))
        except (OSError, AttributeError, ValueError):
            return 1
        return 0
    options = parse_options(argv)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    models = find_models(options)
    token = None if options.token_file is None else read_token(options.token_file)
    if not is_loopback(options.host) and token is None:
        text = "every machine that reaches %s can run the models: there is no token; give "
        text += "--token-file, and a proxy with TLS so that nobody reads it on the way"
        say(text % options.host)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.connections + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    lessons = lessons_of(options)
    sock = listening(options.host, options.http_port)
    try:
        return loop.run_until_complete(serve(options, models, sock, token, lessons))
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
