from __future__ import annotations

import pytest
from pydantic import ValidationError

from tvmkd import config
from tvmkd.config.fields import Section


def sections() -> list[type[Section]]:
    return [
        value
        for value in vars(config).values()
        if isinstance(value, type) and issubclass(value, Section) and value is not Section
    ]


def test_every_field_has_a_description() -> None:
    silent = [
        f"{section.__name__}.{name}"
        for section in sections()
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert silent == [], "put a docstring below the field: it is the reference of tvmkd.toml"


def test_a_docstring_below_a_field_is_its_description() -> None:
    class Example(Section):
        size: int = 3
        """Pixels."""
        other: int = 4

    assert Example.model_fields["size"].description == "Pixels."
    assert Example.model_fields["other"].description is None


def test_a_section_refuses_unknown_keys_and_changes() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        config.Gate.model_validate({"requires": []})
    with pytest.raises(ValidationError, match="frozen"):
        config.Gate().require = []  # type: ignore[misc]
