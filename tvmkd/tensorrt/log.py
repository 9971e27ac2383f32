"""Collects TensorRT's log, for error messages and for the list of an engine's layers."""

from __future__ import annotations

import re
from typing import Any

from tvmkd.base import console

ERROR, WARNING, INFO = 1, 2, 3
LAYERS = ("Layers:", "Engine Layer Information:")

# Parts of a message for NVIDIA's developers: calls, numbers and places in their sources.
_WRAPPED = re.compile(r"Error Code \d+: [\w ]+ \((.*)\)$")
_PLACE = re.compile(r"\s*\bIn \S+ at /\S+.*$")
_SOURCE = re.compile(r"\[\w+\.(cpp|h)(:\d+)?: ?\w+\] ")
_CUDA = re.compile(r"\(cudaError \d+: ([^()]*)\)")
_NO_DRIVER = "cudaError 35"


class Log:
    """Collects TensorRT's messages. Each module has one log, until the process ends.

    Attributes:
        handle: the ``ILogger`` to give to TensorRT.
        layers: the last message that lists an engine's layers, else "".
        stopped: the exception raised in a callback, for example by Ctrl-C; it must not reach C++.
        verbose: whether to print the messages.
    """

    def __init__(self, module: Any) -> None:
        self.verbose = False
        self.clear()
        take = self._take

        class Logger(module.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                module.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                take(int(severity), msg)

        self.handle = Logger()

    def clear(self) -> None:
        """Deletes the messages; call it before a build."""
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.layers = ""
        self.stopped: BaseException | None = None

    def _take(self, severity: int, text: str) -> None:
        try:
            if severity <= ERROR:
                self.errors.append(text)
            elif severity == WARNING:
                self.warnings.append(text)
            elif text.startswith(LAYERS):
                self.layers = text
            if self.verbose and severity <= INFO:
                console.say(text)
        except BaseException as error:
            self.stopped = error

    def why(self) -> str:
        """The first error since `clear`, on one line."""
        # Without a GPU every call logs that there is no driver, which is no reason.
        telling = [text for text in self.errors if _NO_DRIVER not in text] or self.errors
        return plain(telling[0]) if telling else "no message"


def plain(text: str) -> str:
    """A message of TensorRT on one line of at most 300 characters, without source locations."""
    line = " ".join(text.split())
    wrapped = _WRAPPED.search(line)
    text = _PLACE.sub("", wrapped[1] if wrapped else line)
    cuda = _CUDA.search(line)
    return (_SOURCE.sub("", text).strip(" .") or (cuda[1] if cuda else line))[:300]


_LOGS: dict[str, Log] = {}


def log_of(module: Any) -> Log:
    """The module's log; its ``handle`` must outlive every object of TensorRT."""
    found = _LOGS.get(module.__name__)
    # Another module of the same name occurs only in tests with fakes.
    if found is None or not isinstance(found.handle, module.ILogger):
        found = _LOGS[module.__name__] = Log(module)
    return found
