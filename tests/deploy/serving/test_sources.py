from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import make_toy

from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.serving import sources


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes artifacts that nobody runs, at paths below ``tmp_path``."""
    library = tmp_path / "empty.so"
    library.write_bytes(b"")

    def made(*names: str, **changes: Any) -> Path:
        for name in names:
            make_toy(tmp_path / name, library, **changes)
        return tmp_path

    return made


def test_an_artifact_is_called_as_its_manifest_says(make: Any) -> None:
    root = make("out", name="student")
    found = sources.find([root / "out"], [])
    assert {name: source.versions() for name, source in found.items()} == {
        "student": {"1": root / "out"}
    }
    assert list(sources.find([root / "out"], ["mine"])) == ["mine"]


def test_a_folder_of_numbers_is_one_model(make: Any) -> None:
    root = make("student/1.9.0", "student/1.10.0", "student/1.10.0rc1")
    (found,) = sources.find([root / "student"], []).values()
    assert found.name == "student"
    assert list(found.versions()) == ["1.9.0", "1.10.0rc1", "1.10.0"]
    (root / "student" / "notes").mkdir()
    assert len(found.versions()) == 3
    (named,) = sources.find([root / "student"], ["other"])
    assert named == "other"


def test_a_folder_of_models(make: Any) -> None:
    root = make("models/a", "models/b/1", "models/b/2")
    found = sources.find([root / "models"], [])
    assert {name: list(source.versions()) for name, source in found.items()} == {
        "a": ["1"], "b": ["1", "2"],
    }  # fmt: skip
    with pytest.raises(UsageError, match="holds several models, so --name cannot name it"):
        sources.find([root / "models"], ["x"])


def test_names_belong_to_the_folders_in_order(make: Any) -> None:
    root = make("one", "two")
    found = sources.find([root / "one", root / "two"], ["first"])
    assert {name: source.folder.name for name, source in found.items()} == {
        "first": "one", "toy": "two",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "é", "x" * 200, "a\nb"])
def test_a_name_that_cannot_be_in_a_url(make: Any, name: str) -> None:
    root = make("one")
    with pytest.raises(UsageError, match="cannot be part of a URL"):
        sources.find([root / "one"], [name])


def test_a_model_whose_artifacts_have_gone(make: Any) -> None:
    root = make("student/1")
    (found,) = sources.find([root / "student"], []).values()
    (root / "student" / "1" / "manifest.json").unlink()
    with pytest.raises(InputError, match="there is no artifact any more"):
        found.versions()


def test_bodies_may_be_as_long_as_the_inputs_need_as_json(make: Any) -> None:
    def limit(*shape: object) -> int:
        root = make("one", inputs=[{"name": "x", "shape": list(shape), "dtype": "float32"}])
        return sources.body_limit(sources.find([root / "one"], []).values())

    assert limit(1, 4) == 2**20 + 4 * 26
    assert limit(1, 3, 224, 224) == 2**20 + 3 * 224 * 224 * 26
    assert limit("n", 4) == 2**26
