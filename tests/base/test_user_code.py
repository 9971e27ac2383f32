from __future__ import annotations

from collections.abc import Callable
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
    (tmp_path / "my_quitting_code.py").write_text("import sys\nsys.exit('no data')\n")
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
        ("my_quitting_code:f", r"loss: SystemExit: no data \(my_quitting_code.py:2\)"),
        ("my_broken_code:f", r"loss: RuntimeError: no such card \(my_broken_code.py:2\)"),
    ],
)
def test_what_is_wrong_is_one_line(module: Path, spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        user_code.load(spec, "loss", [module])
    assert "\n" not in str(caught.value)


@pytest.fixture
def failing(tmp_path: Path) -> Callable[[], None]:
    (tmp_path / "my_helper_code.py").write_text("def inner():\n    raise KeyError('bug')\n")
    (tmp_path / "my_failing_code.py").write_text(
        "import json\nfrom my_helper_code import inner\n"
        "def outer():\n    inner()\ndef parse():\n    json.loads('{')\n"
    )
    return user_code.load("my_failing_code:outer", "model", [tmp_path])


def test_an_error_is_told_with_the_user_s_own_line(failing: Callable[[], None]) -> None:
    with pytest.raises(InputError) as caught, user_code.guard("student"):
        failing()
    assert str(caught.value) == "student: KeyError: 'bug' (my_helper_code.py:2)"
    with pytest.raises(KeyError) as raw:
        failing()
    blame = user_code.blamed(raw.value)
    assert str(blame) == (
        "your own code failed: KeyError: 'bug' (my_helper_code.py:2); correct it there"
    )


def test_an_error_below_the_user_s_code_has_its_line(tmp_path: Path, failing: object) -> None:
    parse = user_code.load("my_failing_code:parse", "model", [tmp_path])
    place = r"JSONDecodeError: Expecting.* \(my_failing_code.py:6\)"
    with pytest.raises(InputError, match=place), user_code.guard("student"):
        parse()


def fault() -> None:
    raise KeyError("ours")


def full() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("raises", [fault, full])
def test_an_error_of_ours_stays_as_it_is(raises: Callable[[], None]) -> None:
    with pytest.raises((KeyError, OSError)) as caught, user_code.guard("student"):
        raises()
    assert not isinstance(caught.value, InputError)
    assert user_code.blamed(caught.value) is None


def test_an_error_in_a_library_is_the_user_s_where_the_block_is() -> None:
    said = pytest.raises(InputError, match="student: KeyError: 'ours'")
    with said, user_code.guard("student", theirs=True):
        fault()


def test_what_is_the_users_own_code() -> None:
    specs = ("depthwise", "torchvision:resnet18", "timm:resnet18", "mine:net", "torchvisionn:x")
    assert [spec for spec in specs if user_code.is_own(spec)] == ["mine:net", "torchvisionn:x"]
