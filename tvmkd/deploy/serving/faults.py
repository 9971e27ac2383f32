"""Why a request is refused: the HTTP status, the line for the client, the label of the metric."""

from __future__ import annotations

STATUS = {
    "invalid": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method": 405,
    "slow_client": 408,
    "too_large": 413,
    "encoding": 415,
    "headers_too_large": 431,
    "failed": 500,
    "crashed": 500,
    "queue_full": 503,
    "late": 503,
    "expired": 503,
    "unavailable": 503,
    "stopping": 503,
}
"""The kinds of errors, as in the label ``kind`` of ``tvmkd_inference_errors_total``.

``late``: refused at once, because it would miss its deadline; ``expired``: accepted, but its
deadline came before an instance was free.
"""


class RequestFault(Exception):
    """A request that gets no result.

    Args:
        kind: a key of `STATUS`.
        message: one line for the client: what, where, what to do.
        retry_after: whole seconds after which another attempt may succeed.
    """

    def __init__(self, kind: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.kind]


def invalid(message: str) -> RequestFault:
    """A request that is wrong whenever it is sent (400)."""
    return RequestFault("invalid", message)
