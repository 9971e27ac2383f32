"""An interpreter with the relay stack, for the tests that need a real one."""

from __future__ import annotations

import functools
import os

import pytest

from tvmkd.base import console
from tvmkd.base.errors import MissingError, TvmkdError
from tvmkd.runtime import interpreters
from tvmkd.stacks.relay.install import install

# As the user has them: a test may have set them to folders of its own before it asks.
_NAMES = ("HOME", "PATH", "PYENV_ROOT", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TVMKD_RELAY_PYTHON")
_AT_START = {name: os.environ.get(name) for name in _NAMES}


@functools.lru_cache(maxsize=1)
def _found() -> str | TvmkdError:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _AT_START.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        try:
            try:
                return interpreters.find("relay").python
            except MissingError:
                # Another test process may do the same: the second one waits for the first.
                return str(install(say=console.say)["python"])
        except TvmkdError as error:
            return error


def relay_python() -> str:
    """The interpreter: the user's, or the installed one, or one that is installed now.

    Skips the test, with the reason, where there is none to be had.
    """
    found = _found()
    if isinstance(found, MissingError):
        pytest.skip(f"no relay stack: {found}")
    if isinstance(found, TvmkdError):
        raise found
    return found


if __name__ == "__main__":  # before the tests, since an installation may take longer than one may
    there = _found()
    print(f"relay stack: {there}" + ("; its tests skip" if isinstance(there, TvmkdError) else ""))
