#!/usr/bin/env python3
"""Checks tvmkd on a machine with an NVIDIA GPU, which needs no network; pack the wheels beforehand.

    scripts/gpu_check.sh --pack wheels/                      (where there is a network)
    scripts/gpu_check.sh --wheels wheels/ --minutes 8 -o out (on the machine with the GPU)

It installs from the folder of wheels only, runs the tests that need a GPU, then the suite, the most
telling networks first, and ends in time. One line for each step; what was done is in
``OUT/gpu_check.json`` and, for people, in ``OUT/index.html``. The same command again goes on after
an interruption: steps that were done are not done again. Exit code 0: every step worked.

Nothing but Python is needed to run this file.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PART = 50 * 10**6
"""Bytes of a part: some ways to the other machine take no more at a time."""
SUMS = "SHA256SUMS"
EXTRAS = ("dev", "cuda")
"""What is always packed; `--with` adds others."""
GROUPS = ("onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "cuda13")
"""Extras of setup.cfg that can be packed as well: engines."""
LEFT_FOR_THE_PAGE = 10.0
"""Seconds at the end that nothing else gets."""
TESTS_SHARE = 0.5
"""Of the time that is left: the most that the tests may take."""


BAD = ("failure", "error")


class Failed(Exception):
    """A step did not work; the message is the reason, in one line."""


def pack(folder: Path, groups: Sequence[str]) -> None:
    """Downloads all wheels for this Python and this kind of machine, in parts of `PART` bytes."""
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir(parents=True)
    # The last two build this checkout where it is installed.
    wanted = [f"{ROOT}[{','.join([*EXTRAS, *groups])}]", "setuptools", "wheel"]
    say(f"downloading the wheels of {', '.join([*EXTRAS, *groups])}: several GB, some minutes")
    # Wheels of everything: the other machine may have no compiler.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(whole)]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"pip cannot get the wheels: {last_line(done.stderr)}")
    for old in folder.glob("*.whl*"):
        old.unlink()
    sums = []
    for wheel in sorted(whole.glob("*.whl")):
        sums.append(f"{digest(wheel)}  {wheel.name}")
        split(wheel, folder)
    (folder / SUMS).write_text("\n".join(sums) + "\n")
    shutil.rmtree(whole)
    parts = [path for path in folder.iterdir() if path.name != SUMS]
    size = sum(path.stat().st_size for path in parts)
    say(f"{folder}: {len(sums)} wheels in {len(parts)} files, {size / 1e9:.1f} GB")


def split(wheel: Path, folder: Path) -> None:
    """Copies a wheel in parts of at most `PART` bytes; a small one in one piece."""
    if wheel.stat().st_size <= PART:
        shutil.copyfile(wheel, folder / wheel.name)
        return
    with wheel.open("rb") as source:
        number = 0
        while data := source.read(PART):
            (folder / f"{wheel.name}.part-{number:03}").write_bytes(data)
            number += 1


def joined(folder: Path, whole: Path) -> list[str]:
    """Puts the parts together in ``whole`` and checks every wheel's hash; the wheels' names."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except OSError:
        raise Failed(f"{folder}: holds no {SUMS}: make it with --pack") from None
    whole.mkdir(parents=True, exist_ok=True)
    names = [line.partition("  ")[2] for line in lines]
    for old in whole.iterdir():
        if old.name not in names:
            old.unlink()
    for line in lines:
        wanted, _, name = line.partition("  ")
        goal = whole / name
        if goal.exists() and digest(goal) == wanted:
            continue
        parts = sorted(folder.glob(f"{name}.part-*")) or [folder / name]
        with goal.open("wb") as sink:
            for part in parts:
                if not part.exists():
                    raise Failed(f"{part}: is missing: copy it again")
                with part.open("rb") as source:
                    shutil.copyfileobj(source, sink)
        if digest(goal) != wanted:
            raise Failed(f"{name}: its parts do not have the hash in {SUMS}: copy them again")
    return names


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while data := stream.read(1 << 20):
            found.update(data)
    return found.hexdigest()


class Check:
    """The steps on the machine with the GPU, in order.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._out: Path = options.output.resolve()
        self._options = options
        self._end = time.monotonic() + 60 * options.minutes
        given = options.python
        # Not resolved: an environment's Python is a link.
        self._python: Path = given.absolute() if given else self._out / "venv/bin/python"
        self._file = self._out / "gpu_check.json"
        self._found = self._earlier()

    def _earlier(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._file.read_text())
            return found if isinstance(found.get("steps"), dict) else {"steps": {}}
        except (OSError, ValueError):
            return {"steps": {}}

    def run(self) -> int:
        """Runs the steps; returns the exit code."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("wheels", self._wheels),
            ("install", self._install),
            ("gpu", self._gpu),
            ("tests", self._tests),
            ("suite", self._suite),
        ]
        if self._options.python:
            steps = steps[2:]
        names = [name for name, _ in steps]
        before = self._found["steps"]
        self._found["steps"] = {name: before[name] for name in names if name in before}
        for name, work in steps:
            if not self._step(name, work) and name in ("wheels", "install", "gpu"):
                break
        self._write_page()
        bad = [name for name, step in self._found["steps"].items() if step["state"] != "ok"]
        return 1 if bad else 0

    def _step(self, name: str, work: Callable[[], str]) -> bool:
        """Runs one step, unless an earlier call did; False if it failed."""
        before = self._found["steps"].get(name, {})
        same = before.get("asked") == self._asked(name)
        if before.get("state") == "ok" and same and not self._options.again:
            say(f"{name}: done before: {before['text']}")
            return True
        start = time.monotonic()
        self._keep(name, "cut off", "it was begun and did not end", 0.0)
        try:
            state, text = "ok", work()
        except Failed as error:
            state, text = "failed", str(error)
        except OSError as error:
            state, text = "failed", f"{error.strerror}: {error.filename}"
        took = time.monotonic() - start
        self._keep(name, state, text, took)
        say(f"{name}: {'' if state == 'ok' else 'FAILED: '}{text} ({took:.0f} s)")
        return state == "ok"

    def _asked(self, name: str) -> list[str]:
        """The options that a step depends on: it is done again where they differ."""
        options = self._options
        sums = options.wheels / SUMS if options.wheels else None
        made_of = [str(options.wheels), str(options.python), content(sums)]
        if name == "tests":
            return [*made_of, commit(), *options.tests]
        if name == "suite":
            suite = Path(options.suite) if options.suite.endswith(".toml") else None
            words = [options.suite, content(suite), str(options.seconds), *options.suite_words]
            return [*made_of, commit(), *words]
        return made_of

    def _keep(self, name: str, state: str, text: str, seconds: float) -> None:
        self._found["steps"][name] = {
            "state": state,
            "text": text,
            "seconds": round(seconds, 1),
            "asked": self._asked(name),
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        written = self._file.with_suffix(".tmp")
        written.write_text(json.dumps(self._found, indent=1) + "\n")
        written.replace(self._file)

    def _left(self) -> float:
        """Seconds until only the page may be written."""
        return max(0.0, self._end - time.monotonic() - LEFT_FOR_THE_PAGE)

    def _call(
        self, command: Sequence[str | Path], log: str, limit: float
    ) -> tuple[int | None, str]:
        """Runs a command with its output in a file; (exit code or None: too long, output)."""
        path = self._out / log
        with path.open("wb") as sink:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=end_with_parent,
                cwd=ROOT,
            )
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                # All of it: what hangs on a GPU would keep it busy.
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(5)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return code, path.read_text(errors="replace")

    def _wheels(self) -> str:
        if self._options.wheels is None:
            raise Failed("give --wheels FOLDER (made with --pack), or --python of an environment")
        names = joined(self._options.wheels.resolve(), self._out / "wheels")
        return f"{len(names)} wheels"

    def _install(self) -> str:
        folder = self._python.parent.parent
        command = [sys.executable, "-m", "venv", "--clear", folder]
        code, said = self._call(command, "venv.log", self._left())
        if code != 0:
            raise Failed(f"venv: {last_line(said) or 'the time was over'}")
        names = {path.name for path in (self._out / "wheels").glob("*.whl")}
        # Both fill one folder: the one for GPUs can do all that the other can.
        if any(name.startswith("onnxruntime_gpu-") for name in names):
            names = {name for name in names if not name.startswith("onnxruntime-")}
        wheels = [self._out / "wheels" / name for name in sorted(names) if name[:6] != "tvmkd-"]
        pip = [self._python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        code, said = self._call([*pip, *wheels], "install.log", self._left())
        if code is None:
            raise Failed("the time was over while the wheels were installed")
        if code:
            raise Failed(f"pip: {last_line(said)}")
        # This checkout itself, so that the tests run what is here.
        editable = [*pip, "--no-build-isolation", "-e", ROOT]
        code, said = self._call(editable, "install.log", self._left())
        if code != 0:
            raise Failed(f"pip -e {ROOT}: {last_line(said)}")
        return f"{len(wheels)} packages"

    def _gpu(self) -> str:
        code = (
            "import dataclasses, json\n"
            "from tvmkd.base import nvidia_driver\n"
            "print(json.dumps([dataclasses.asdict(g) for g in nvidia_driver.gpus()]))\n"
        )
        done, said = self._call([self._python, "-c", code], "gpu.log", min(120.0, self._left()))
        if done != 0:
            raise Failed(re.sub(r"^.*Error: ", "", last_line(said)) or "it does not answer")
        found = json.loads(said.strip().splitlines()[-1])
        self._found["gpus"] = found
        first = found[0]
        major, minor = first["cuda"]
        return (
            f"{first['name']}, compute capability {first['capability'] / 10:.1f}, "
            f"{first['memory'] / 2**30:.0f} GiB, driver for CUDA {major}.{minor}"
        )

    def _tests(self) -> str:
        report = self._out / "tests.xml"
        report.unlink(missing_ok=True)
        words = ["-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
        words.append(f"--junit-xml={report}")
        limit = TESTS_SHARE * self._left()
        code, said = self._call([self._python, *words, *self._options.tests], "tests.log", limit)
        if code is None:
            raise Failed(f"were not done after {limit:.0f} s: see {self._out / 'tests.log'}")
        counts = _counts(report)
        if counts is None:
            raise Failed(last_line(said) or f"pytest ended with code {code}")
        self._found["tests"] = counts
        text = f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"
        if counts["failed"]:
            raise Failed(f"{text}: {', '.join(counts['names'][:5])}")
        if code or not counts["passed"]:
            raise Failed(f"{text}; pytest ended with code {code}: see {self._out / 'tests.log'}")
        return text

    def _suite(self) -> str:
        left = self._left()
        if left < 30:
            raise Failed("no time was left for it: the same command goes on")
        if self._options.again:
            shutil.rmtree(self._out / "suite", ignore_errors=True)
        words = ["-m", "tvmkd", "compare", "--suite", self._options.suite, "--device", "gpu"]
        words += ["-o", str(self._out / "suite"), "--minutes", f"{0.9 * left / 60:.2f}"]
        words += ["--seconds", str(self._options.seconds), *self._options.suite_words]
        code, said = self._call([self._python, *words], "suite.log", left)
        try:
            found = json.loads((self._out / "suite" / "suite.json").read_text())
        except (OSError, ValueError):
            raise Failed(last_line(said) or f"it ended with code {code}") from None
        self._found["suite"] = found
        states = [network["state"] for network in found["networks"]]
        text = f"{states.count('done')} of {len(states)} networks compared"
        failed = [network for network in found["networks"] if network["state"] == "failed"]
        if code and not failed:
            raise Failed(f"{text}; tvmkd compare: {last_line(said)}")
        if failed:
            raise Failed(f"{text}; {failed[0]['name']}: {failed[0]['reason']}")
        if states.count("done") < len(states):
            raise Failed(f"{text}: the time was over, the same command goes on")
        return text

    def _write_page(self) -> None:
        if not self._python.exists():  # the failure has been told
            return
        self._keep_last()
        command = [self._python, "-m", "tvmkd.suites.gpu_page", self._out]
        code, said = self._call(command, "page.log", max(LEFT_FOR_THE_PAGE, self._left()))
        say(f"page: {self._out / 'index.html'}" if code == 0 else f"no page: {last_line(said)}")

    def _keep_last(self) -> None:
        self._found["minutes"] = self._options.minutes
        self._file.write_text(json.dumps(self._found, indent=1) + "\n")


def _counts(report: Path) -> dict[str, Any] | None:
    """How many tests passed, failed and were skipped, by pytest's own report."""
    try:
        root = ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    cases = list(root.iter("testcase"))
    bad = [case for case in cases if any(case.find(kind) is not None for kind in BAD)]
    skipped = [case for case in cases if case.find("skipped") is not None]
    return {
        "passed": len(cases) - len(bad) - len(skipped),
        "failed": len(bad),
        "skipped": len(skipped),
        "names": [f"{case.get('classname')}::{case.get('name')}" for case in bad],
    }


def content(path: Path | None) -> str:
    """The SHA-256 of a file; empty where there is none."""
    return digest(path) if path is not None and path.is_file() else ""


def commit() -> str:
    """The commit of this checkout; empty where git or its folder is missing."""
    try:
        command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes a folder; refuses one in which another process works."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failed(f"{folder}: another gpu_check works there") from None
        yield


def end_with_parent() -> None:
    """The calling process ends when its parent does (PR_SET_PDEATHSIG), however that happens."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Reads the command line and works."""
    parser = argparse.ArgumentParser(
        prog="gpu_check.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--pack", type=Path, metavar="FOLDER", help="download wheels into it")
    add(
        "--with",
        dest="groups",
        action="append",
        default=[],
        choices=GROUPS,
        help="with --pack: an engine to pack as well; several times",
    )
    add("--wheels", type=Path, metavar="FOLDER", help="made with --pack")
    add("--python", type=Path, help="of an environment with tvmkd: install nothing")
    add("--minutes", type=float, default=8.0, help="for all of it (default: 8)")
    add("--suite", default="edge10", help="a suite's name or file")
    add("--seconds", type=float, default=1.0, help="of measuring an engine")
    add("--again", action="store_true", help="do all steps again")
    add("--tests", action="append", default=[], metavar="PATH", help="for pytest; several times")
    add("--suite-words", action="append", default=[], metavar="WORD", help="for tvmkd compare")
    add("-o", "--output", type=Path, default=Path("gpu-check"), help="the folder")
    options = parser.parse_args(words)
    if options.suite.endswith(".toml"):
        options.suite = str(Path(options.suite).resolve())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what was started, too
    if options.minutes <= 0:
        parser.error("--minutes must be above 0")
    try:
        if options.pack is not None:
            pack(options.pack, options.groups)
            return 0
        with alone(options.output):
            return Check(options).run()
    except Failed as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
