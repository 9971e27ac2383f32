"""The Open Inference Protocol's types and errors, and the limits of the server."""

import struct
import sys

MIB = 2**20
# numpy's name: the protocol's, the letter for array and struct ("": no form in JSON), bytes
DTYPES = {
    "bool": ("BOOL", "?", 1), "uint8": ("UINT8", "B", 1), "uint16": ("UINT16", "H", 2),
    "uint32": ("UINT32", "I", 4), "uint64": ("UINT64", "Q", 8), "int8": ("INT8", "b", 1),
    "int16": ("INT16", "h", 2), "int32": ("INT32", "i", 4), "int64": ("INT64", "q", 8),
    "float16": ("FP16", "", 2), "bfloat16": ("BF16", "", 2), "float32": ("FP32", "f", 4),
    "float64": ("FP64", "d", 8),
}  # fmt: skip
STATUS = {
    "invalid": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404, "method": 405,
    "slow_client": 408, "too_large": 413, "encoding": 415, "headers_too_large": 431,
    "failed": 500, "crashed": 500, "queue_full": 503, "late": 503, "expired": 503,
    "unavailable": 503, "stopping": 503,
}  # fmt: skip
REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 413: "Content Too Large",
    415: "Unsupported Media Type", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
MAX_HEAD, MAX_CONTROL, MOST_UNREAD, IDLE_S, STOP_S = 32768, MIB, 64 * MIB, 75.0, 30.0
ASK, ANSWER = struct.Struct("=d"), struct.Struct("=ciidd")  # deadline; letter, status, exit, times
JSON_TYPE = ("content-type", "application/json")


class Fault(Exception):
    """A request without a result: ``kind`` is a key of STATUS."""

    def __init__(self, kind: str, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.kind, self.message, self.retry_after = kind, message, retry_after


def say(text: str) -> None:
    """One line on stderr."""
    print("serve.py: " + text, file=sys.stderr, flush=True)
