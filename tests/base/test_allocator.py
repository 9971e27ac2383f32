from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PAGES = """
import resource
from tvmkd.base.allocator import keep_freed_memory

keep_freed_memory()
size = 16 << 20
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * size
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is set up")
def test_freed_blocks_are_used_again_unless_the_user_set_malloc_up() -> None:
    def mapped(**more: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PAGES],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    assert mapped() < 40
    assert mapped(MALLOC_MMAP_THRESHOLD_="1048576") > 120
