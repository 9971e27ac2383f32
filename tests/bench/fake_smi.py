"""An nvidia-smi that is not there: it answers as the real one does, a line of CSV a GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

UUID = "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
IDLE = "NVIDIA Stand-in, 550.54.15, 345, 1593, 1980, 34, 71.20, 700.00, 0x0000000000000001"
BUSY = "NVIDIA Stand-in, 550.54.15, 1980, 2619, 1980, 51, 402.75, 700.00, 0x0000000000000000"
CODE = """
import pathlib, sys
folder = pathlib.Path(__file__).parent
known, refused, lines, before, apps = {known!r}, {refused!r}, {lines!r}, {before!r}, {apps!r}
if sys.argv[3:] not in ([], ["--id=" + known]):
    print("No devices were found")
    sys.exit(6)
if sys.argv[1] == "--query-compute-apps=pid,process_name":
    print("\\n".join(apps))
    sys.exit()
single = {{"--query-gpu=utilization.gpu": 0, "--query-gpu=mig.mode.current": 1}}
if sys.argv[1] in single:
    value = before.split(", ")[single[sys.argv[1]]]
    if value == "refused":
        print("Field is not a valid field to query.")
        sys.exit(2)
    print(value)
    sys.exit()
fields = sys.argv[1].removeprefix("--query-gpu=").split(",")
count = folder / "count"
for field in fields:
    if field in refused:
        print('Field "%s" is not a valid field to query.' % field)
        sys.exit(2)
if "--format=csv,noheader,nounits" not in sys.argv:
    sys.exit(1)
asked = int(count.read_text()) if count.exists() else 0
count.write_text(str(asked + 1))
print(lines[min(asked, len(lines) - 1)])
"""


def plant(
    folder: Path,
    patch: pytest.MonkeyPatch,
    lines: tuple[str, ...] = (IDLE, BUSY),
    refused: tuple[str, ...] = (),
    before: str = "0, Disabled",
    apps: tuple[str, ...] = (),
    uuid: str = UUID,
) -> None:
    """Puts it on PATH. It gives each line once, the last one for ever; ``refused`` are fields.

    ``before`` is its load and its MIG mode, ``apps`` who computes on it.
    """
    path = folder / "smi" / "nvidia-smi"
    path.parent.mkdir()
    path.write_text(
        f"#!{sys.executable}"
        + CODE.format(known=uuid, refused=refused, lines=lines, before=before, apps=apps)
    )
    path.chmod(0o755)
    patch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
