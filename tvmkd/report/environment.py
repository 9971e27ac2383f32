"""The Jinja2 templates of the HTML pages: every value is escaped unless it is `Markup`."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent / "templates"


@functools.cache
def environment() -> Environment:
    """The environment of all templates; a variable that is not given is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["breakable"] = breakable
    return made


def render(template: str, **values: Any) -> str:
    """The text of one page.

    Args:
        template: a file in ``templates/``.
        values: the template's variables.

    Raises:
        jinja2.UndefinedError: the template reads a variable that is not in ``values``.
    """
    return environment().get_template(template).render(**values)


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """What colours mean, as a list: (class, text)."""
    macros: Any = environment().get_template("parts.html").module
    return Markup(macros.legend(entries))


def breakable(name: str) -> Markup:
    """The escaped name, with places to wrap after ``_ . :`` on a narrow screen."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[_.:])", name))
