"""A plain TVM client of a board, in a process of its own: calls kernels of ``kernels.c``.

``python board_client.py HOST PORT KEY TIMEOUT LIBRARY CALL...`` where a call is ``name``,
``name:NUMBER``, ``facts``, ``telemetry``, ``sleep:SECONDS``, ``count:name:NUMBER``, ``upload:MIB``.
Prints what each call gives, one line each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tvmkd.base import toolchain, wheels
from tvmkd.boards.fleet import Fleet


def library(folder: Path, triple: str) -> Path:
    """``kernels.c``, compiled for ``triple``."""
    out = folder / f"kernels-{triple}.so"
    command = [*toolchain.zig(), "cc", "-target", triple, "-shared", "-fPIC", "-O1", "-o", str(out)]
    include = wheels.installed("tvm_ffi", "include")
    source = Path(__file__).with_name("kernels.c")
    subprocess.run([*command, f"-I{include}", str(source)], check=True, capture_output=True)
    return out


def start(fleet: Fleet, path: Path, *calls: str, timeout: float = 0) -> subprocess.Popen[str]:
    """Starts a client."""
    argv = [fleet.host, str(fleet.port), fleet.key, str(timeout), str(path), *calls]
    return subprocess.Popen(
        [sys.executable, __file__, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(fleet: Fleet, path: Path, *calls: str, timeout: float = 0) -> list[str]:
    """What the calls give."""
    process = start(fleet, path, *calls, timeout=timeout)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.splitlines()


def main() -> None:
    """Makes the calls."""
    from tvmkd.boards.connect import request
    from tvmkd.runtime.tvm_process import import_runtime

    tvm = import_runtime()
    host, port, key, timeout, path, *calls = sys.argv[1:]
    board = request(host, int(port), key, 60)
    session = tvm.rpc.connect(*board, session_timeout=float(timeout))
    session.upload(path, "kernels.so")
    module = session.load_module("kernels.so")
    for call in calls:
        name, _, number = call.partition(":")
        try:
            if name in {"facts", "telemetry"}:
                print(session.get_function(f"tvmkd.board.{name}")())
            elif name == "sleep":
                print("sleeping", flush=True)
                time.sleep(float(number))
            elif name == "count":
                what, _, number = number.partition(":")
                count = session.get_function("tvmkd.board.count_instructions")
                print(count(module, what, int(number)))
            elif name == "upload":
                data = bytearray(int(number) << 20)
                print("uploading", flush=True)
                session.upload(data, "large")
            else:
                function = module.get_function(name)
                print(f"calling {name}", flush=True)
                print(function(int(number)) if number else function())
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            print("failed:", lines[-1])
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
