"""The functions for scripts and notebooks."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import toys

import tvmkd
from tvmkd import api, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.manifest import Manifest
from tvmkd.stacks import compile as compiling


@pytest.mark.usefixtures("warm_worker")
def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(api, optionflags=doctest.FAIL_FAST)
    assert (found.failed, found.attempted > 8) == (0, True)


def test_the_package_offers_what_the_module_does() -> None:
    offered = set(api.__all__) - {"search"}  # tvmkd.search is the package
    assert set(tvmkd.__all__) == {*offered, "Artifact", "__version__"}
    for name in offered:
        assert getattr(tvmkd, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        _ = tvmkd.biuld  # type: ignore[attr-defined]


def test_loading_an_artifact_imports_no_engines() -> None:
    code = "import sys, tvmkd; tvmkd.load; print('tvmkd.bench' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Calls of the functions below the API, which do nothing."""
    found: list[Any] = []
    manifest = {
        "schema_version": 1,
        "name": "m",
        "created": "2026-01-01T00:00:00+00:00",
        "tvmkd_version": "0",
        "target": {},
        "stack": "relax",
        "stack_version": "0",
        "onnx_sha256": "0",
        "inputs": [],
        "outputs": [],
        "files": {},
        "coverage": {},
        "records": [],
        "check": {},
    }

    def record(result: dict[str, Any]) -> Any:
        def call(*arguments: Any, **options: Any) -> dict[str, Any]:
            found.append((arguments, options))
            return result

        return call

    monkeypatch.setattr(compiling, "tune", record({"trials": 1}))
    monkeypatch.setattr(compiling, "build", record(manifest))
    return found


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_are_strings_or_paths(calls: Any, kind: Any) -> None:
    assert tvmkd.tune(kind("m.onnx"), kind("r"), trials=3, stack_python=kind("py")) == {"trials": 1}
    manifest = tvmkd.build(
        kind("m.onnx"), kind("out"), records=[kind("r")], inputs=kind("i.npz"), shipped=False
    )
    assert isinstance(manifest, Manifest)
    (tuned, how), (built, options) = calls
    assert (tuned[0], tuned[2], how["trials"], how["stack_python"]) == (
        Path("m.onnx"),
        Path("r"),
        3,
        Path("py"),
    )
    assert (built[0], built[2], built[3]) == (Path("m.onnx"), [Path("r")], Path("out"))
    assert (options["inputs"], options["shipped"]) == (Path("i.npz"), False)


@pytest.mark.parametrize("tracker", ["boards", "boards:9190", ("boards", 9190)])
def test_a_tracker_is_a_text_or_a_pair(calls: Any, tracker: Any) -> None:
    tvmkd.tune("m.onnx", "r", trials=1, tracker=tracker, key="nano")
    tvmkd.build("m.onnx", "out", tracker=tracker, key="nano")
    tvmkd.build("m.onnx", "out")
    tuned, built, without = (options for _, options in calls)
    assert (tuned["tracker"], tuned["key"]) == (("boards", 9190), "nano")
    assert built["board"] == {"host": "boards", "port": 9190, "key": "nano"}
    assert without["board"] is None


def test_a_target_is_a_name_a_file_or_a_target(calls: Any, tmp_path: Path) -> None:
    nano = targets.load("jetson-nano")
    for given in ("jetson-nano", nano):
        tvmkd.build("m.onnx", "out", target=given)
        tvmkd.tune("m.onnx", "r", trials=1, target=given)
    assert [arguments[1] for arguments, _ in calls] == [nano] * 4
    with pytest.raises(InputError, match=r"mine\.toml: there is no such target file"):
        tvmkd.build("m.onnx", "out", target=tmp_path / "mine.toml")


def test_a_tracker_that_is_none_is_wrong_usage(calls: Any) -> None:
    with pytest.raises(UsageError, match='"host:x" is not a tracker address'):
        tvmkd.tune("m.onnx", "r", trials=1, tracker="host:x")
    assert calls == []


@pytest.mark.usefixtures("warm_worker")
def test_a_build_prints_nothing_and_reports_its_steps(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    events: list[str] = []
    tvmkd.build(
        toys.onnx_file(tmp_path / "m.onnx"),
        tmp_path / "out",
        on_event=lambda name, data: events.append(data["text"] if name == "stage" else name),
    )
    assert capfd.readouterr() == ("", "")
    assert "comparing with ONNX Runtime" in events


def test_a_search_takes_a_file_or_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd import config
    from tvmkd.search import methods

    asked: list[Any] = []
    monkeypatch.setattr(methods, "search", lambda cfg, *_, **named: asked.append((cfg, named)))
    path = tmp_path / "mine.toml"
    path.write_text('[project]\nname = "x"\n[search.space]\nwidth = [0.5, 1.0]\n')
    api.search(str(path), budget="5ms", trials=7)
    api.search(config.read(path), workers=2)
    (first, named), (second, others) = asked
    assert (first.search.budget, first.search.trials) == ("5ms", 7)
    assert named["search_in"] == [tmp_path]
    assert (second.search.workers, second.search.budget, others["search_in"]) == (2, None, [])
    with pytest.raises(InputError, match=r"the arguments: search.budget"):
        api.search(path, budget="5 apples")
