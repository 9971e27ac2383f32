from __future__ import annotations

import logging
from pathlib import Path

import optuna
import pytest

from tvmkd.base.errors import InputError, MissingError
from tvmkd.search.study.storage import answering, open_storage, public


def test_a_journal_a_file_and_a_database(tmp_path: Path) -> None:
    urls = (None, str(tmp_path / "shared.journal"), f"sqlite:///{tmp_path}/study.db")
    for url in urls:
        study = optuna.create_study(storage=open_storage(url, tmp_path), study_name="s")
        study.ask()
        again = optuna.load_study(study_name="s", storage=open_storage(url, tmp_path))
        assert len(again.trials) == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"study.journal", "shared.journal", "study.db"}


@pytest.mark.parametrize(
    ("url", "kind", "line"),
    [
        ("nosuch://host/db", InputError, "storage nosuch://host/db: cannot be used"),
        ("postgresql+nothing://u:pw@host/db", InputError, r"://u:\*\*\*@host"),
        ("mysql+mysqldb://u:pw@host/db", MissingError, "its driver is not installed"),
        ("sqlite:////no/such/folder/x.db", MissingError, "does not answer"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_its_password(
    url: str, kind: type[Exception], line: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=line) as caught:
        open_storage(url, tmp_path)
    assert "pw" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"something else, long enough to be looked at" * 40)
    with pytest.raises(InputError, match="not a database"):
        open_storage(f"sqlite:///{tmp_path}/x.db", tmp_path)


def test_a_storage_that_goes_away(tmp_path: Path) -> None:
    def lost() -> None:
        try:
            raise OSError("server closed the connection")
        except OSError as error:
            raise optuna.exceptions.StorageInternalError("An exception is raised") from error

    with (
        pytest.raises(MissingError, match=r"does not answer \(server closed the connection\)"),
        answering("mysql://u:pw@host/db"),
    ):
        lost()


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), answering(None):
        raise ZeroDivisionError


def test_passwords_are_not_shown() -> None:
    assert public("mysql://u:p@ss@h/db") == "mysql://u:***@h/db"
    assert public("sqlite:///a.db") == "sqlite:///a.db"
    assert public(None) == "study.journal"


def test_optuna_s_warnings_are_lines_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_storage(None, tmp_path)
    open_storage(None, tmp_path)
    logging.getLogger("optuna.storages").warning("one\ntwo")
    logging.getLogger("optuna.storages").info("not shown")
    assert capsys.readouterr().err.strip() == "warning: one two"
