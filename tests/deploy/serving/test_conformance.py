"""`tvmkd serve` passes the tests that every server of tvmkd must pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance import Conformance, Server
from running import serving

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")
TOKEN = "a-token-of-the-tests"


class TestTvmkdServe(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
        token = tmp_path_factory.mktemp("token") / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        limits = ["--max-body", "1", "--read-timeout", "2"]
        with serving(toy, *limits, "--token-file", token) as running:
            yield Server(
                running.url,
                "toy",
                reference=lambda x, y: [x + y, x * y],
                max_body=2**20,
                read_s=2,
                token=TOKEN,
            )
