"""The command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tvmkd.deploy.board_server import main


def test_cpus() -> None:
    assert main.cpus_of("0,2-4") == [0, 2, 3, 4]
    for wrong in ("", "a", "1-", "-1", "1,,2"):
        with pytest.raises(argparse.ArgumentTypeError):
            main.cpus_of(wrong)


def test_loopback() -> None:
    assert all(map(main.is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(main.is_loopback, ("0.0.0.0", "::", "192.168.1.2", "board.local")))


def test_the_names_of_models(tmp_path: Path) -> None:
    for name in ("libstudent.so", "other.so"):
        (tmp_path / name).touch()
    paths = [str(tmp_path / "libstudent.so"), str(tmp_path / "other.so")]
    assert list(main.find_models(main.parse_options(paths))) == ["student", "other.so"]
    named = main.parse_options([*paths, "--name", "a", "--name", "b"])
    assert list(main.find_models(named)) == ["a", "b"]
    with pytest.raises(SystemExit) as ended:
        main.find_models(main.parse_options([*paths, "--name", "x", "--name", "x"]))
    assert ended.value.code == 2
