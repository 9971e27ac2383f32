"""Sphinx directives that write the reference out of pydantic models.

``{toml-reference}`` describes every key of a ``tvmkd.toml``; ``{model} module:Class`` is a table of
a model's fields, followed by the models that it contains.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tvmkd.config import Config

NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", Path: "path"}
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def type_name(kind: Any) -> str:
    """A type in a reader's words, as Markdown: ``integer``, ``list of strings``, ```"kd"```."""
    if kind is Any:
        return "any"
    if kind in NAMES:
        return NAMES[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_name(args[0]) + limits(args[1:])
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(item) for item in args if item is not type(None))
    if origin is dict:
        return "table" if args[1] is Any else f"table of {plural(type_name(args[1]))}"
    if origin in (list, tuple):
        if origin is tuple and args[-1] is not Ellipsis:
            return "[" + ", ".join(type_name(item) for item in args) + "]"
        return f"list of {plural(type_name(args[0]))}"
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{anchor(kind)})"
    return f"`{kind}`"


def plural(name: str) -> str:
    """The plural of a plain type's name; anything else stays."""
    return f"{name}s" if name in {*NAMES.values(), "table"} else name


def limits(metadata: tuple[Any, ...]) -> str:
    """The limits of a number: `` from 0 to 1``, `` above 0``, or nothing."""
    found = dict(bound for item in metadata for bound in bounds(item))
    if "ge" in found and "le" in found:
        return f" from {found['ge']:g} to {found['le']:g}"
    words = [f"{LIMITS[name]} {value:g}" for name, value in found.items() if value < 2**31]
    return " " + " and ".join(words) if words else ""


def bounds(item: Any) -> Iterator[tuple[str, Any]]:
    """The limits that one piece of an annotation holds."""
    for part in getattr(item, "metadata", [item]):
        for name in LIMITS:
            value = getattr(part, name, None)
            if value is not None:
                yield name, value


def field_type(field: FieldInfo) -> str:
    """The type of a field and its limits, or the values that its JSON schema lists."""
    extra = field.json_schema_extra
    values = extra.get("enum") if isinstance(extra, dict) else None
    if isinstance(values, list):
        return type_name(Literal[tuple(values)])
    return type_name(field.annotation) + limits(tuple(field.metadata))


def default(field: FieldInfo) -> str:
    """The default as TOML has it, as Markdown: ``, default `3` ``, or nothing without one."""
    if field.is_required():
        return ", required"
    value = field.get_default(call_default_factory=True)
    if value in (None, Path()):
        return ""
    return f", default `{json.dumps(value, default=str)}`"


def description(field: FieldInfo) -> str:
    """The description in Markdown: docstrings have RST's double backticks."""
    return markdown(field.description or "")


def markdown(text: str) -> str:
    """A docstring's text with Markdown's literals."""
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


def anchor(model: type[BaseModel]) -> str:
    """The label of a model's section."""
    return f"{model.__module__.rpartition('.')[2]}-{model.__name__}".lower()


def section_of(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The model that a key's table is checked against, and whether there is a list of them."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            return kind, get_origin(field.annotation) is list
    return None, False


def sections(
    model: type[BaseModel], place: str = ""
) -> Iterator[tuple[str, bool, type[BaseModel]]]:
    """Every table of a file: its name, whether it may stand several times, its model."""
    for name, field in model.model_fields.items():
        section, many = section_of(field)
        if section is not None:
            table = (
                f"{place}{name}.NAME" if get_origin(field.annotation) is dict else f"{place}{name}"
            )
            yield table, many, section
            yield from sections(section, f"{table}.")


def toml_reference() -> str:
    """The reference of ``tvmkd.toml`` as MyST Markdown."""
    lines = []
    for place, many, model in sections(Config):
        head = f"[[{place}]]" if many else f"[{place}]"
        text = markdown(inspect.getdoc(model) or "").replace(f"`{head}`: ", "", 1)
        lines += [f"(toml-{place.replace('.', '-')})=", f"## `{head}`", "", capital(text), ""]
        for name, field in model.model_fields.items():
            if section_of(field)[0] is not None:
                continue
            lines += [
                f":::{{confval}} {place}.{name}",
                "",
                f"*{field_type(field)}{default(field)}*",
                "",
                description(field),
                ":::",
                "",
            ]
    return "\n".join(lines)


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def contained(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and those that its fields hold, each once, in reading order."""
    found: list[type[BaseModel]] = []

    def visit(kind: Any) -> None:
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            if kind in found:
                return
            found.append(kind)
            for field in kind.model_fields.values():
                visit(field.annotation)
        for part in get_args(kind):
            visit(part)

    visit(model)
    return found


def model_tables(name: str) -> str:
    """The fields of ``module:Class`` and of the models that it contains, as MyST Markdown."""
    module, _, attribute = name.partition(":")
    lines = []
    for model in contained(getattr(importlib.import_module(module), attribute)):
        summary = markdown((inspect.getdoc(model) or "").partition("\n\n")[0])
        lines += [f"({anchor(model)})=", f"### {model.__name__}", "", summary, ""]
        lines += ["| field | type | meaning |", "|---|---|---|"]
        for field_name, field in model.model_fields.items():
            cells = (f"`{field_name}`", field_type(field), description(field))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


class _Written(SphinxDirective):
    """A directive whose content is Markdown from a function."""

    def text(self) -> str:
        """The Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """The sections."""
        return self.parse_text_to_nodes(self.text(), allow_section_headings=True)


class TomlReference(_Written):
    """``{toml-reference}``."""

    def text(self) -> str:
        """The whole reference."""
        return toml_reference()


class Model(_Written):
    """``{model} module:Class``."""

    required_arguments = 1

    def text(self) -> str:
        """The tables."""
        return model_tables(self.arguments[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directives."""
    app.add_directive("toml-reference", TomlReference)
    app.add_directive("model", Model)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
