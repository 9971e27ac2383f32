from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
import schema_pages
from pydantic import BaseModel, Field

from tvmkd import config


class Inner(BaseModel):
    """A part."""

    name: str = Field(description="of the ``part``")


class Outer(BaseModel):
    """The whole.

    More about it.
    """

    parts: list[Inner]
    best: Inner | None = None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "integer"),
        (Path, "path"),
        (Any, "any"),
        (Literal["a", 3], '`"a"` or `3`'),
        (list[str], "list of strings"),
        (tuple[int, ...], "list of integers"),
        (tuple[float, float], "[number, number]"),
        (dict[str, Any], "table"),
        (dict[str, str], "table of strings"),
        (Optional[int], "integer"),  # noqa: UP045 - pydantic resolves to it
        (int | str, "integer or string"),
        (Annotated[int, Field(ge=1)], "integer at least 1"),
        (Annotated[float, Field(ge=0, le=1)], "number from 0 to 1"),
        (Annotated[float, Field(gt=0, lt=1)], "number above 0 and below 1"),
        (Annotated[int, Field(ge=0, lt=2**32)], "integer at least 0"),
    ],
)
def test_types_in_words(kind: Any, text: str) -> None:
    assert schema_pages.type_name(kind) == text


def test_a_key_has_its_type_default_and_description() -> None:
    text = schema_pages.toml_reference()
    entry = text[text.index(":::{confval} distill.alpha") :]
    assert entry.startswith(
        ":::{confval} distill.alpha\n\n*number from 0 to 1, default `0.1`*\n\nWeight of the loss on"
    )


def test_names_that_a_registry_lists_are_the_type() -> None:
    field = config.Config.model_fields["tune"].annotation.model_fields["stack"]
    assert schema_pages.field_type(field) == '`"relax"` or `"relay"`'


def test_every_key_of_the_configuration_is_in_the_reference() -> None:
    text = schema_pages.toml_reference()
    keys = [
        f"{place}.{name}"
        for place, _, model in schema_pages.sections(config.Config)
        for name, field in model.model_fields.items()
        if schema_pages.section_of(field)[0] is None
    ]
    assert len(keys) > 80
    assert [key for key in keys if f":::{{confval}} {key}\n" not in text] == []
    assert "## `[[distill.features]]`" in text
    assert "## `[search.space.NAME]`" in text


def test_a_model_is_a_table_and_so_is_what_it_contains() -> None:
    text = schema_pages.model_tables(f"{__name__}:Outer")
    assert "### Outer\n\nThe whole.\n" in text
    assert "| `parts` | list of [Inner](#" in text
    assert text.index("### Outer") < text.index("### Inner")
    assert text.count("### Inner") == 1
    assert "| `name` | string | of the `part` |" in text


@pytest.mark.parametrize("name", ["tvmkd.base.manifest:Manifest", "tvmkd.bench.schema:Comparison"])
def test_every_field_of_a_file_format_has_a_description(name: str) -> None:
    rows = [line for line in schema_pages.model_tables(name).splitlines() if line[:3] == "| `"]
    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []
