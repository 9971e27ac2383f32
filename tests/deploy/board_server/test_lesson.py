"""``serve.py --learn``: off unless asked, learning beside requests, taking back, keeping."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import learner_heads
import learner_model
import numpy as np
import pytest
from conformance import Answer, Server, ask, metrics, request, total
from learner_heads import FEATURES, clusters, lesson
from native_server import Running, running

from tvmkd.deploy import learner_file, serve_file
from tvmkd.deploy.board_learner import learner as learner_module
from tvmkd.deploy.board_server import lesson as module
from tvmkd.deploy.board_server import main
from tvmkd.deploy.board_server.lesson import Lesson, assign
from tvmkd.deploy.board_server.protocol import Fault
from tvmkd.deploy.board_server.server import Server as BoardServer

URL = "/v2/models/learner"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with serve.py, tvmkd_learner.py, head.bin and the library."""
    folder = tmp_path_factory.mktemp("learn")
    serve_file.write(folder / "serve.py")
    (folder / learner_file.NAME).write_text(learner_file.text())
    learner_model.shared(folder / "liblearner.so")
    learner_heads.written(folder)
    return folder


def started(place: Path, *words: object, **more: Any) -> Any:
    library = place / "liblearner.so"
    return running(sys.executable, place / "serve.py", library, "--name", "learner", *words, **more)


def connected(found: Running) -> Server:
    return Server(found.url, reference=lambda x: [x], model="learner", max_body=2**20, read_s=2.0)


@pytest.fixture(scope="module")
def learning(place: Path) -> Iterator[Server]:
    with started(place, "--learn", place / "head.bin", "--learn-after", 0) as found:
        yield connected(found)


@pytest.fixture
def server(learning: Server) -> Server:
    assert ask(learning, "POST", f"{URL}/learn/rollback").status == 200
    return learning


def asked(server: Server, row: np.ndarray, url: str = "infer", **more: Any) -> Answer:
    body, headers = request(server, [row.reshape(1, -1)], **more)
    return ask(server, "POST", f"{URL}/{url}", body, headers)


def teach(server: Server, row: np.ndarray, label: object) -> Answer:
    return asked(server, row, "learn", parameters={"label": label})


def status(server: Server) -> dict[str, Any]:
    answer = ask(server, "GET", f"{URL}/learn")
    assert answer.status == 200, answer.error()
    found: dict[str, Any] = answer.json()
    return found


def ended(server: Server) -> dict[str, Any]:
    end = time.monotonic() + 60
    while status(server)["phase"] in ("training", "checking") and time.monotonic() < end:
        time.sleep(0.02)
    return status(server)


def taught(server: Server, kind: str) -> None:
    for row, label in zip(*lesson(kind), strict=True):
        answer = teach(server, row, int(label))
        assert answer.status == 200, answer.error()


def update(server: Server, kind: str) -> dict[str, Any]:
    """Teaches a lesson, and waits for the end of the update."""
    taught(server, kind)
    assert ask(server, "POST", f"{URL}/learn/update").status == 200
    return ended(server)


def test_off_unless_asked(place: Path) -> None:
    row = clusters(np.array([1]), 0)[0]
    with started(place) as found:
        server = connected(found)
        for answer in (teach(server, row, 1), ask(server, "GET", f"{URL}/learn"),
                       ask(server, "POST", f"{URL}/learn/rollback")):  # fmt: skip
            assert answer.status == 403
            assert "does not learn; start serve.py with --learn" in answer.error()
        assert not [name for name, _ in metrics(server) if "_learn_" in name]
        assert asked(server, row).outputs()["logits"].shape == (1, 4)


def test_a_new_class_and_back(server: Server) -> None:
    row = clusters(np.array([5]), 40)[0]
    before, counted = asked(server, row).outputs(), metrics(server)
    found = update(server, "new")
    assert (found["phase"], found["classes"], found["kept"]) == ("accepted", 6, False)
    after = asked(server, row).outputs()
    assert after["logits"].shape == (1, 6)
    assert after["logits"].argmax() == 5
    np.testing.assert_array_equal(after["features"], before["features"])
    shapes = [each["shape"] for each in ask(server, "GET", URL).json()["outputs"]]
    assert shapes == [[1, 6], [1, FEATURES]]
    numbers = metrics(server)
    for name, more in (("examples_total", 60), ("updates_total", 1), ("classes", 2)):
        both = [total(each, f"tvmkd_learn_{name}") for each in (numbers, counted)]
        assert both[0] - both[1] == more
    count = found["rollbacks"]
    assert ask(server, "POST", f"{URL}/learn/rollback").json()["rollbacks"] == count + 1
    np.testing.assert_array_equal(asked(server, row).outputs()["logits"], before["logits"])
    assert ask(server, "GET", URL).json()["outputs"][0]["shape"] == [1, 4]


def test_poison_is_told_of(server: Server) -> None:
    row = clusters(np.array([2]), 41)[0]
    before, rejected = asked(server, row).outputs()["logits"], status(server)["rejected"]
    found = update(server, "poison")
    assert (found["phase"], found["rejected"]) == ("rejected", rejected + 1)
    assert found["reason"].startswith("labels: ")
    np.testing.assert_array_equal(asked(server, row).outputs()["logits"], before)


def test_requests_are_answered_while_it_learns(server: Server) -> None:
    answers: list[Answer] = []
    done = threading.Event()
    row = clusters(np.array([1]), 0)[0]
    taught(server, "new")

    def client() -> None:
        while not done.is_set():
            answers.append(asked(server, row))

    thread = threading.Thread(target=client)
    thread.start()
    assert ask(server, "POST", f"{URL}/learn/update").json()["phase"] == "training"
    assert "an update runs" in teach(server, row, 1).error()
    before = len(answers)
    found = ended(server)
    count = len(answers) - before
    done.set()
    thread.join()
    assert found["phase"] == "accepted"
    assert count > 5
    assert {answer.status for answer in answers} == {200}


def test_bad_requests(server: Server) -> None:
    row, added = clusters(np.array([1]), 0)[0], status(server)["added"]
    for label, said in (
        (None, "label has to be the number of a class"),
        ("1", "label has to be the number"),
        (True, "label has to be the number"),
        (10**40, "label has to be the number"),
        (6, "label 6: there may be 6 classes at most"),
    ):
        answer = teach(server, row, label)
        assert (answer.status, said in answer.error()) == (400, True), answer.error()
    assert "not finite" in teach(server, row * np.inf, 1).error()
    answer = ask(server, "POST", f"{URL}/learn/update")
    assert (answer.status, "too few new examples" in answer.error()) == (400, True)
    assert ask(server, "GET", f"{URL}/learn/rollback").status == 405
    assert ask(server, "POST", "/v2/models/none/learn").status == 404
    assert status(server)["added"] == added


def test_what_is_learned_is_kept_when_it_is_killed(place: Path, tmp_path: Path) -> None:
    words = ("--learn", place / "head.bin", "--learn-state", tmp_path / "state")
    with started(place, *words, "--learn-after", 60, code=None) as found:
        server = connected(found)
        taught(server, "new")
        assert ended(server)["phase"] == "accepted"
        found.process.kill()
    (state,) = (tmp_path / "state").iterdir()
    assert state.suffix == ".head"
    with started(place, *words) as found:
        server = connected(found)
        assert status(server)["classes"] == 6
        assert status(server)["kept"]


# In this process: the board's modules, with the learner as a package.


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "import_learner", lambda: learner_module)
    return Path(learner_heads.written(tmp_path))


def facts(**more: Any) -> dict[str, Any]:
    sizes = {"logits": 4, "features": FEATURES}
    outputs = [{"name": name, "datatype": "FP32", "count": count} for name, count in sizes.items()]
    return {"onnx_sha256": learner_heads.MODEL.hex(), "outputs": outputs, **more}


def model(**more: Any) -> SimpleNamespace:
    return SimpleNamespace(facts=facts(**more), lesson=None, label="model 'learner' version '1'")


def options(*words: object) -> Any:
    return main.parse_options(["lib.so", *map(str, words)])


def test_an_update_that_begins_by_itself(head: Path) -> None:
    (made,) = main.lessons_of(options("--learn", head, "--learn-after", "60"))

    async def play() -> None:
        for row, label in zip(*lesson("new"), strict=True):
            made.add([b"", row.astype("<f4").tobytes()], int(label))
        assert made.learner.phase == "training"
        await made.task

    asyncio.run(play())
    assert made.learner.phase == "accepted"


def test_no_update_begins_by_itself_without_a_class(head: Path) -> None:
    """The example was added, so its request is no error."""
    (made,) = main.lessons_of(options("--learn", head, "--learn-after", "8"))
    row = np.ones(FEATURES, "<f4").tobytes()
    for _ in range(9):
        made.add([b"", row], 5)
    assert (made.learner.phase, made.learner.new.count) == ("idle", 9)
    with pytest.raises(Fault, match="class 4 has no example"):
        made.begin()


def learn(made: Lesson) -> None:
    """An update with two new classes, to its end."""

    async def play() -> None:
        for row, label in zip(*lesson("new"), strict=True):
            made.learner.add(row, int(label))
        made.begin()
        await made.task

    asyncio.run(play())


def test_a_state_that_cannot_be_written(head: Path, tmp_path: Path) -> None:
    given = options("--learn", head, "--learn-state", tmp_path / "state")
    (made,) = main.lessons_of(given)
    (tmp_path / "state").rmdir()
    learn(made)
    assert made.learner.phase == "accepted"
    assert "the state cannot be written" in made.status()["failure"]
    assert {row[0]: row[4] for row in made.metrics()}["tvmkd_learn_state_failed"] == 1
    made.rollback()  # nothing was written, so nothing can come back
    assert made.status()["failure"] == ""
    (tmp_path / "state" / made.learner.path.rpartition("/")[2]).mkdir(parents=True)
    with pytest.raises(Fault, match="or what was learned comes back"):
        made.rollback()
    assert "the state cannot be written" in made.status()["failure"]


def test_a_state_that_is_written_again_is_no_failure(head: Path, tmp_path: Path) -> None:
    (made,) = main.lessons_of(options("--learn", head, "--learn-state", tmp_path / "state"))
    made.failure = "the state cannot be written: full"
    learn(made)
    assert made.status()["failure"] == ""


@pytest.mark.parametrize(
    ("loopback", "token", "allowed"), [(True, None, True), (False, "t", True), (False, None, False)]
)
def test_who_may_teach(head: Path, loopback: bool, token: str | None, allowed: bool) -> None:
    server = BoardServer({}, None, token, loopback, False, "0")
    owner = model()
    owner.lesson = Lesson(learner_module, str(head), None, 0, {})
    assert server.lesson_of(owner, "learned") is owner.lesson
    for route in ("learn", "update", "rollback"):
        if allowed:
            assert server.lesson_of(owner, route) is owner.lesson
            continue
        with pytest.raises(Fault, match="every machine could teach the model"):
            server.lesson_of(owner, route)


def test_another_library_was_loaded(head: Path) -> None:
    server = BoardServer({}, None, None, True, False, "0")
    owner = model()
    assign([Lesson(learner_module, str(head), None, 0, {})], {"learner": owner})
    owner.facts = facts(onnx_sha256="00" * 32)
    with pytest.raises(Fault, match="the library was replaced by another"):
        server.lesson_of(owner, "learned")
    assert server.metadata is not None


def test_heads_and_libraries(head: Path) -> None:
    made = [Lesson(learner_module, str(head), None, 0, {}) for _ in range(2)]
    with pytest.raises(ValueError, match="belongs to none of the libraries"):
        assign(made[:1], {"a": model(onnx_sha256="00" * 32)})
    with pytest.raises(ValueError, match="has a head already"):
        assign(made, {"a": model()})
    with pytest.raises(ValueError, match="are not 4 logits and 12 features"):
        assign(made[:1], {"a": model(outputs=facts()["outputs"][:1])})


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--learn", "{none}"), 4, "none: cannot be read"),
        (("--learn", __file__), 4, "is no head"),
        (("--learn", "{head}", "--learn-state", __file__), 4, "test_lesson.py"),
        (("--learn", "{head}", "--learn-after", "513"), 2, "has to be from 0 to 512"),
        (
            ("--learn", "{head}", "--max-forgetting", "7"),
            4,
            "max_forgetting: has to be from 0 to 1",
        ),
        (
            ("--learn", "{head}", "--max-contradiction", "nan"),
            4,
            "max_contradiction: has to be from 0 to 1",
        ),
    ],
)
def test_what_cannot_be_started(
    head: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    given = [word.format(none=head.with_name("none"), head=head) for word in words]
    with pytest.raises(SystemExit) as caught:
        main.lessons_of(options(*given))
    assert caught.value.code == code
    assert said in capsys.readouterr().err


def test_without_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tvmkd_learner", None)
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    with pytest.raises(SystemExit) as caught:
        main.lessons_of(options("--learn", "head.bin"))
    assert caught.value.code == 5
    assert "install python3-numpy" in capsys.readouterr().err
    assert sys.path[: len(before)] == before  # statistics.py beside lesson.py hides no other
