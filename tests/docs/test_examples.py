"""Every example in the documentation is a command, a file or a program that tvmkd accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import docs_pages as pages
import pytest

from tvmkd import cli, config, targets
from tvmkd.config import tomllib
from tvmkd.suites import definition


def command_lines() -> list[tuple[str, str]]:
    found = []
    for place, text in pages.blocks("shell"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for start, word in enumerate(words):
                if word in ("tvmkd", ".venv/bin/tvmkd"):
                    rest = words[start + 1 :]
                    end = next((i for i, w in enumerate(rest) if w in ("&&", "|", ">")), None)
                    found.append((place, shlex.join(rest[:end])))
                    break
    return found


def check(command: click.Command, words: list[str], name: str) -> None:
    """Parses as click does, but opens no file and runs nothing."""
    context = click.Context(command, info_name=name)
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(context, words[0])
        assert below is not None, f"{name} has no command {words[0]}"
        check(below, words[1:], f"{name} {words[0]}")
        return
    values, left, _ = command.make_parser(context).parse_args(words)
    assert left == [] or isinstance(command, click.Group), f"{name}: left over: {left}"
    for parameter in command.params:
        value = values.get(parameter.name)
        given = value is not None and value != () and type(value).__name__ != "Sentinel"
        assert given or not parameter.required, f"{name} needs {parameter.name}"
        if given and not isinstance(parameter.type, click.Path) and isinstance(value, (str, list)):
            for item in [value] if isinstance(value, str) else value:
                parameter.type.convert(item, parameter, context)


def test_there_are_command_lines() -> None:
    assert len(command_lines()) > 50


@pytest.mark.parametrize(("place", "line"), command_lines(), ids=lambda text: text[:60])
def test_a_command_line_is_one(place: str, line: str) -> None:
    try:
        check(cli.group, shlex.split(line), "tvmkd")
    except click.ClickException as error:
        pytest.fail(f"{place}: tvmkd {line}: {error.format_message()}")


def mentions() -> list[tuple[str, str]]:
    """Commands in running text: their options must exist, but they may leave some out."""
    return [
        (pages.name(path), " ".join(span.split()))
        for path in pages.PAGES
        for span in re.findall(r"`tvmkd ([a-z][^`]*)`", pages.prose(path))
    ]


@pytest.mark.parametrize(("place", "line"), mentions(), ids=lambda text: text[:60])
def test_a_command_in_a_sentence_has_these_options(place: str, line: str) -> None:
    command, words = cli.group, shlex.split(line)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(click.Context(command), words.pop(0))
        assert below is not None, f"{place}: tvmkd {line}"
        command = below
    known = {name for parameter in command.params for name in parameter.opts}
    known |= {name for parameter in command.params for name in parameter.secondary_opts}
    given = {word.partition("=")[0] for word in words if word.startswith("-")} - {"--help"}
    assert given - known == set(), f"{place}: tvmkd {line}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tune model.onnx --trails 3 --records r", "No such option"),
        ("tune model.onnx --records r", "needs trials"),
        ("tune model.onnx --trials few --records r", "not a valid integer"),
        ("build model.onnx -o out --stack relaxed", "is not one of"),
        ("board lists", "no command lists"),
        ("gate result.json other.json --require 'tvm.p50 < 1ms'", "left over"),
    ],
)
def test_a_wrong_command_line_is_noticed(line: str, message: str) -> None:
    with pytest.raises((click.ClickException, AssertionError), match=message):
        check(cli.group, shlex.split(line), "tvmkd")


@pytest.mark.parametrize(("place", "text"), list(pages.blocks("toml")), ids=lambda text: text[:40])
def test_a_toml_block_is_a_configuration_a_target_or_a_suite(place: str, text: str) -> None:
    data: dict[str, Any] = tomllib.loads(text)
    if "network" in data:
        assert definition.parse(data, Path(place)).networks
        return
    if "tvm" in data:
        assert targets.Target.from_dict({"name": "example", **data}, place).description
        return
    config.parse({"project": {"name": "example"}, **data}, place)


@pytest.mark.parametrize(
    ("place", "text"), list(pages.blocks("python")), ids=lambda text: text[:40]
)
def test_a_program_compiles(place: str, text: str) -> None:
    compile(text, place, "exec")


def test_no_block_is_without_a_language() -> None:
    assert [place for place, _ in pages.blocks("")] == []
