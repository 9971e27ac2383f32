"""Where a study is kept: a journal file in its folder, or any storage that Optuna has."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base import console
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.text import first_line
from tvmkd.search.study.journal import NAME, open_journal

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """The storage of a study.

    Args:
        url: ``sqlite:///FILE``, ``mysql://...``, ``redis://...``, or the path of a journal file;
            None: the journal in ``folder``.
        folder: the search's folder.

    Raises:
        InputError: the URL or the file cannot be used.
        MissingError: the database does not answer, or Python has no driver for it.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise MissingError("Optuna is not installed: pip install 'tvmkd[search]'") from None
    _speak_plainly()
    if url is None:
        return open_journal(folder / NAME)
    if "://" not in url:
        return open_journal(Path(url))
    with answering(url):
        if url.startswith("redis"):
            from optuna.storages.journal import JournalRedisBackend

            return optuna.storages.JournalStorage(JournalRedisBackend(url))
        return optuna.storages.RDBStorage(url)


@contextmanager
def answering(url: str | None) -> Iterator[None]:
    """Raises what a database or its driver raises in the block as one line, without passwords.

    Raises:
        InputError: the URL is no URL, or the database holds something else.
        MissingError: the driver is missing, or the database does not answer.
    """
    import optuna

    shown = public(url)
    try:
        yield
    except ImportError as error:
        cause = first_line(error.__cause__ or error)
        raise MissingError(f"storage {shown}: its driver is not installed ({cause})") from None
    except optuna.exceptions.StorageInternalError as error:
        cause = first_line(error.__cause__ or error)
        raise MissingError(f"storage {shown}: does not answer ({cause})") from None
    except Exception as error:
        module = type(error).__module__.partition(".")[0]
        if module not in ("sqlalchemy", "redis", "alembic"):
            raise
        cause = first_line(getattr(error, "orig", None) or error)
        if type(error).__name__ in _UNREACHABLE:
            raise MissingError(f"storage {shown}: does not answer ({cause})") from None
        raise InputError(f"storage {shown}: cannot be used ({cause})") from None


_UNREACHABLE = ("ConnectionError", "InterfaceError", "OperationalError", "TimeoutError")


def public(url: str | None) -> str:
    """A storage's URL without the password in it."""
    return NAME if url is None else re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)


class _Warnings(logging.Handler):
    """Shows what Optuna warns of as the other warnings are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line."""
        console.warn(" ".join(record.getMessage().split()))


def _speak_plainly() -> None:
    """Has Optuna report warnings only, once each, in the house's form."""
    from optuna import exceptions
    from optuna import logging as optuna_logging

    optuna_logging.disable_default_handler()
    optuna_logging.set_verbosity(optuna_logging.WARNING)
    logger = logging.getLogger("optuna")
    if not any(isinstance(handler, _Warnings) for handler in logger.handlers):
        logger.addHandler(_Warnings())
    warnings.filterwarnings("ignore", category=exceptions.ExperimentalWarning)
