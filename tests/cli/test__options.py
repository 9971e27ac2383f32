"""How the values of shared options are read, and which are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tvmkd.base import stack_registry
from tvmkd.base.errors import InputError
from tvmkd.cli import _options as options


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("batch=1", ("batch", 1)),
        ("batch=16", ("batch", 16)),
        ("a b=007", ("a b", 7)),
    ],
)
def test_a_dimension_is_a_name_and_a_size(text: str, found: tuple[str, int]) -> None:
    assert options.dimension(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "batch", "batch=", "=1", "batch=0", "batch=-1", "batch=1.5", "batch=a", "a=b=1", "a= 1"],
)
def test_what_is_no_dimension_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not NAME=SIZE, for example batch=1") as found:
        options.dimension(text)
    assert f'"{text}"' in found.value.message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x:1x3", [("x.0", 1), ("x.1", 3)]),
        ("x:0:2", [("x:0.0", 2)]),
        ("1x3", [(".0", 1), (".1", 3)]),
        ("a:1X2, b:3", [("a.0", 1), ("a.1", 2), ("b.0", 3)]),
    ],
)
def test_a_shape_gives_the_size_of_each_axis(text: str, found: list[tuple[str, int]]) -> None:
    assert options.shapes(text) == found


@pytest.mark.parametrize("text", ["", "x", "x:", "x:1x", "x:0x3", "x:-1x3", "x:1x3,"])
def test_what_is_no_shape_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not INPUT:1x3x224x224"):
        options.shapes(text)


@click.command()
@options.dims_option
def show(dims: tuple[tuple[str, int], ...]) -> None:
    click.echo(json.dumps(dict(dims)))


def test_sizes_of_both_options_are_put_together() -> None:
    runner = CliRunner()
    given = ["--dim", "n=2", "--shape", "x:1x3", "--dim", "n=2", "--dim", "x.0=1"]
    assert json.loads(runner.invoke(show, given).output) == {"n": 2, "x.0": 1, "x.1": 3}
    assert json.loads(runner.invoke(show, []).output) == {}


@pytest.mark.parametrize(
    "given",
    [["--dim", "n=2", "--dim", "n=3"], ["--shape", "x:1", "--dim", "x.0=2"]],
)
def test_two_sizes_for_one_dimension_are_wrong_usage(given: list[str]) -> None:
    result = CliRunner().invoke(show, given)
    assert result.exit_code == 2
    assert "two sizes for" in result.output


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("local", None),
        ("boards", ("boards", 9190)),
        ("boards:1", ("boards", 1)),
        ("boards:65535", ("boards", 65535)),
        ("[::1]:9191", ("::1", 9191)),
        ("local:9190", ("local", 9190)),
        (" local ", None),
        (" boards : 9191 ", ("boards", 9191)),
    ],
)
def test_a_tracker_is_an_address_or_local(text: str, found: Any) -> None:
    assert options.tracker(text) == found


@pytest.mark.parametrize("text", ["", ":9190", "boards:0", "boards:65536", "boards:x"])
def test_what_is_no_tracker_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a tracker address"):
        options.tracker(text)


@pytest.mark.parametrize(
    ("host", "port", "found"),
    [
        (None, None, "local"),
        (None, "9191", "local"),
        ("", "9191", "local"),
        ("boards", None, "boards"),
        ("boards", "", "boards"),
        ("boards", "9191", "boards:9191"),
    ],
)
def test_tvms_variables_name_the_tracker(
    monkeypatch: pytest.MonkeyPatch, host: str | None, port: str | None, found: str
) -> None:
    for name, value in (("TVM_TRACKER_HOST", host), ("TVM_TRACKER_PORT", port)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert options.environment_tracker() == found


def given(decorate: Callable[[Any], Any], *words: str) -> dict[str, Any]:
    """What a command with these options is called with."""
    called: list[dict[str, Any]] = []

    @click.command()
    @decorate
    def command(**values: Any) -> None:
        called.append(values)

    done = CliRunner().invoke(command, list(words))
    if done.exit_code:
        raise click.UsageError(done.output)
    (values,) = called
    return values


def test_dimensions_may_be_given_several_times() -> None:
    assert given(options.dims_option) == {"dims": ()}
    found = given(options.dims_option, "--dim", "b=2", "--dim", "c=3")
    assert found == {"dims": (("b", 2), ("c", 3))}
    with pytest.raises(click.UsageError, match="NAME=SIZE"):
        given(options.dims_option, "--dim", "b=0")


def test_the_target_is_this_machine_unless_it_is_given() -> None:
    assert given(options.target_option) == {"target_name": "host"}
    assert given(options.target_option, "--target", "nano") == {"target_name": "nano"}


@pytest.mark.parametrize("both", [True, False])
def test_the_stack_is_the_default_unless_it_is_given(both: bool) -> None:
    decorate = options.stack_options(both=both)
    assert given(decorate) == {"stack": stack_registry.DEFAULT, "stack_python": None}
    for name in stack_registry.names():
        assert given(decorate, "--stack", name)["stack"] == name
    found = given(decorate, "--stack-python", "/gone/python")
    assert found["stack_python"] == Path("/gone/python"), "its stack reports that it is not there"
    if both:
        assert given(decorate, "--stack", "both")["stack"] == "both"
    else:
        with pytest.raises(click.UsageError, match="both"):
            given(decorate, "--stack", "both")


def test_one_stack_at_a_time_is_the_default() -> None:
    with pytest.raises(click.UsageError, match="both"):
        given(options.stack_options(), "--stack", "both")


def test_the_help_names_the_stacks_and_how_one_is_installed() -> None:
    @click.command()
    @options.stack_options()
    def command(**_: Any) -> None: ...

    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "relax (MetaSchedule) or relay (AutoScheduler)" in text
    assert "interpreter of the relay stack; default: TVMKD_RELAY_PYTHON, or the one that" in text
    assert "`tvmkd stack install relay` made" in text


def test_json_is_printed_where_it_is_asked_for() -> None:
    assert given(options.json_option) == {"as_json": False}
    assert given(options.json_option, "--json") == {"as_json": True}


def test_json_is_indented_and_paths_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"a": [1, None], "path": Path("out")}
    options.print_json(value)
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"a": [1, None], "path": "out"}, "")
    assert out.startswith('{\n  "a": [\n    1,')


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    assert options.existing(tmp_path, "folder") == tmp_path
    with pytest.raises(InputError, match=r"gone: there is no such ONNX file$"):
        options.existing(tmp_path / "gone", "ONNX file")


def test_the_arrays_of_an_npz_keep_their_names_and_order(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, second=np.ones(2, np.float32), first=np.zeros((1, 3), np.int64))
    found = options.arrays(path)
    assert list(found) == ["second", "first"]
    assert (found["second"].dtype, found["first"].shape) == (np.float32, (1, 3))


@pytest.mark.parametrize("content", ["missing", "empty", "text", "npy", "objects", "cut"])
def test_what_is_no_npz_of_arrays_is_bad_input(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.npz"
    if content == "empty":
        path.write_bytes(b"")
    elif content == "text":
        path.write_text("not an archive")
    elif content == "npy":
        with path.open("wb") as sink:
            np.save(sink, np.ones(3))
    elif content == "objects":
        np.savez(path, x=np.array([{"run": "code"}], dtype=object))
    elif content == "cut":
        np.savez(path, x=np.ones(100))
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"x\.npz: not an \.npz of arrays: "):
        options.arrays(path)


def test_a_path_need_not_exist() -> None:
    assert not options.PATH.exists
    assert options.PATH.convert("gone/m.onnx", None, None) == Path("gone/m.onnx")


def test_a_label_has_no_blanks_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.label(" nano\n") == "nano"
    assert options.label("my nano") == "my nano"
    with pytest.raises(click.BadParameter, match="it is empty"):
        options.label("  ")
    for value, key in ((" nano ", "nano"), ("", None), (" ", None)):
        monkeypatch.setenv("TVM_TRACKER_KEY", value)
        assert options.environment_key() == key
