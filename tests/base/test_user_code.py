from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base import user_code
from tvmkd.base.errors import InputError


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "my_own_code.py").write_text(
        "NUMBER = 3\nclass Outer:\n    @staticmethod\n    def inner():\n        return 7\n"
    )
    (tmp_path / "my_broken_code.py").write_text("\nraise RuntimeError('no such card')\n")
    (tmp_path / "my_needy_code.py").write_text("import no_such_package\n")
    return tmp_path


def test_a_callable_is_found_beside_the_config(module: Path) -> None:
    assert user_code.load("my_own_code:Outer.inner", "loss", [module])() == 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_own_code:NUMBER", "loss: NUMBER is not callable"),
        ("my_own_code:Outr", 'loss: my_own_code has no Outr; did you mean "Outer"'),
        ("my_missing_code:f", "loss: there is no module my_missing_code in "),
        (
            "my_needy_code:f",
            r"loss: ModuleNotFoundError: .*package.*\(my_needy_code.py:1\)",
        ),
        ("my_broken_code:f", r"loss: RuntimeError: no such card \(my_broken_code.py:2\)"),
    ],
)
def test_what_is_wrong_is_one_line(module: Path, spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        user_code.load(spec, "loss", [module])
    assert "\n" not in str(caught.value)
