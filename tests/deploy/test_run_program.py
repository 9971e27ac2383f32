"""``tvmkd-run``, on this machine and as a board's program under QEMU."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import sample_library

from tvmkd import targets
from tvmkd.base import wire
from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.toolchain import host_compiler
from tvmkd.boards import emulate
from tvmkd.deploy import native_programs

X = np.array([[1, 2, 3, 4]], np.float32)
FEW = ["--warmUp=1", "--duration=0", "--iterations=20"]
COUNTS = np.array([5, 6, 7], np.int64)


class Program:
    """One way to run the sample: a list of words before the options."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(
        self, *options: str | Path, given: bytes = b"", code: int = 0
    ) -> tuple[bytes, str]:
        """Runs it; returns stdout and stderr."""
        command = [*self.words, *map(str, options)]
        done = subprocess.run(command, input=given, capture_output=True, timeout=120)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout, done.stderr.decode()

    def refuses(self, *options: str | Path, code: int, given: bytes = b"") -> str:
        """Runs it; it must print one line and nothing else."""
        out, said = self(*options, code=code, given=given)
        assert out == b""
        assert said.startswith("tvmkd-run: "), said
        assert said.count("\n") == 1, said
        return said.strip()


@pytest.fixture(scope="module")
def host() -> targets.Target:
    return targets.load("host")


def made(target: targets.Target, folder: Path, *flags: str) -> Program:
    library = sample_library.shared(target, folder / "libsample.so", *flags)
    program = native_programs.run_program(target)
    return Program([*sample_library.runner(target), str(program), str(library)])


@pytest.fixture(scope="module")
def run(host: targets.Target, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return made(host, tmp_path_factory.mktemp("host"))


@pytest.fixture(
    scope="module",
    params=["dynamic", "static", pytest.param("board", marks=pytest.mark.board),
            pytest.param("static-board", marks=[pytest.mark.board, pytest.mark.slow])],
)  # fmt: skip
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Every kind of program, with the sample."""
    kind: str = request.param
    if kind.endswith("board") and emulate.why_not() is not None:
        pytest.skip(str(emulate.why_not()))
    target = targets.load("jetson-nano" if kind.endswith("board") else "host")
    folder = tmp_path_factory.mktemp(kind)
    if not kind.startswith("static"):
        return made(target, folder)
    archive = sample_library.archive(target, folder / "libsample.a")
    program = native_programs.run_program(target, archive=archive)
    return Program([*sample_library.runner(target)[:3], str(program)])


def save(folder: Path) -> list[str]:
    np.save(folder / "x.npy", X)
    np.save(folder / "counts.npy", COUNTS)
    return ["--input", f"x={folder}/x.npy", f"--input=counts={folder}/counts.npy"]


def test_it_runs_and_compares(each: Program, tmp_path: Path) -> None:
    inputs = save(tmp_path)
    each(*inputs, "--output", tmp_path / "out")
    assert np.array_equal(np.load(tmp_path / "out/y.npy"), 2 * X + 1)
    total = np.load(tmp_path / "out/total.npy")
    assert total.dtype == np.int64
    assert total.tolist() == [18]
    each("--inputs", tmp_path, "--compare", tmp_path / "out")
    np.save(tmp_path / "out/y.npy", 2 * X + 1 + np.float32(0.009))
    said = each.refuses(*inputs, "--compare", tmp_path / "out", code=1)
    assert "output y differs" in said
    assert "0.000999 of its range" in said
    assert "drawn" not in said
    out, _ = each(*inputs, "--compare", tmp_path / "out", "--tolerance=0.0011", "--json")
    compared = {row["name"]: row for row in json.loads(out)["compared"]}
    assert compared["y"]["error"] == pytest.approx(0.001, rel=0.01)
    assert compared["y"]["same"]
    assert compared["total"] == {"name": "total", "error": 0, "same": True}


def test_raw_frames(each: Program) -> None:
    frames = [X.tobytes() + COUNTS.tobytes(), (X * 3).tobytes() + COUNTS.tobytes()]
    out, _ = each("--raw", given=b"".join(frames))
    wanted = [2 * X + 1, 6 * X + 1]
    assert out == b"".join(y.tobytes() + np.array([18]).tobytes() for y in wanted)


def test_a_benchmark(each: Program, tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    out, _ = each(
        "--warmUp=20", "--duration", "0.05", "--iterations", "30", "--percentile=50,99.9",
        "--json", "--exportTimes", times, "--instances", "2",
    )  # fmt: skip
    found = json.loads(out)
    assert found["runs"] >= 60
    assert found["seconds"] >= 0.05
    assert found["instances"] == 2
    latency = found["latency_ms"]
    raw = [row["latencyMs"] for row in json.loads(times.read_text())]
    assert len(raw) == found["runs"]
    assert latency["percentiles"]["50"] == pytest.approx(np.median(raw), abs=1e-5)
    assert latency["percentiles"]["99.9"] == pytest.approx(np.percentile(raw, 99.9), abs=1e-5)
    assert latency["min"] == pytest.approx(min(raw))
    assert latency["max"] == pytest.approx(max(raw))
    assert latency["mean"] == pytest.approx(np.mean(raw), abs=1e-5)
    assert found["resident_bytes"] > 100_000
    assert found["peak_bytes"] >= found["resident_bytes"] / 2


def test_a_fixed_rate_is_kept_and_the_process_sleeps(run: Program) -> None:
    out, _ = run("--warmUp=0", "--duration=0.6", "--iterations=1", "--fps=50", "--json")
    found = json.loads(out)
    assert 28 <= found["runs"] + found["missed_frames"] <= 34
    assert found["cpu_percent"] < 20


def test_the_text_report_has_the_words_of_trtexec(run: Program) -> None:
    out, _ = run("--warmUp=1", "--duration=0", "--iterations=20", "--avgRuns=10")
    text = out.decode()
    assert text.count("Average on 10 runs - latency: ") == 2
    assert "Throughput: " in text
    assert " qps" in text
    assert "Latency: min = " in text
    assert "percentile(99%) = " in text


def test_deadlines_take_early_exits(host: targets.Target, tmp_path: Path) -> None:
    run = made(host, tmp_path, "-DSAMPLE_EXITS")
    options = [*FEW, "--json"]
    assert json.loads(run(*options, "--deadline=1000")[0])["exits_taken"] == [0, 20]
    assert json.loads(run(*options, "--deadline=0.9")[0])["exits_taken"] == [20, 0]


def test_an_exit_is_chosen(host: targets.Target, run: Program, tmp_path: Path) -> None:
    exits = made(host, tmp_path, "-DSAMPLE_EXITS")
    inputs = save(tmp_path)
    for number, wanted in ((0, 0 * X), (1, 2 * X + 1)):
        exits(*inputs, f"--exit={number}", "--output", tmp_path / "out")
        assert np.array_equal(np.load(tmp_path / "out/y.npy"), wanted)
        out, _ = exits(*FEW, f"--exit={number}", "--json")
        assert json.loads(out)["exits_taken"] == [20 * (number == 0), 20 * (number == 1)]
    found = json.loads(exits(*FEW, "--json")[0])
    assert found["exits_taken"] == [0, 20], "where it is confident"
    assert "deadline_ms" not in found
    assert b"Exits taken: 0, 20" in exits(*FEW)[0]
    said = exits.refuses("--exit=2", code=4)
    assert "--exit 2: sample has 2 exits, from 0" in said
    assert "give one of --exit and --deadline" in exits.refuses("--exit=0", "--deadline=1", code=2)
    assert "--serve-stdin" in exits.refuses("--exit=0", "--serve-stdin", code=2)
    assert "--exit 0: sample has no early exits" in run.refuses("--exit=0", code=4)


def test_a_description(run: Program) -> None:
    found = json.loads(run("--describe", "--json")[0])
    assert found["inputs"][0] == {"name": "x", "dtype": "float32", "shape": [1, 4], "bytes": 16}
    assert [row["name"] for row in found["outputs"]] == ["y", "total"]
    text = run("--describe")[0].decode()
    assert "input x: float32 1 x 4\n" in text
    assert "output total: int64 1\n" in text


def test_random_inputs_depend_on_the_seed(run: Program, tmp_path: Path) -> None:
    run("--output", tmp_path / "a")
    out, _ = run("--compare", tmp_path / "a")
    assert out.endswith(b"2 outputs as recorded; inputs were drawn\n")
    _, said = run("--seed=1", "--compare", tmp_path / "a", code=1)
    wanted = "; inputs were drawn with --seed 1: give those of the recorded outputs with --inputs"
    assert all(line.endswith(wanted) for line in said.splitlines())
    assert wanted in said
    y = np.load(tmp_path / "a/y.npy")
    assert ((y >= -1) & (y < 3)).all()
    assert len(set(y.ravel())) == 4


def test_a_session(run: Program) -> None:
    import base64

    def packed(array: np.ndarray) -> str:
        return base64.b64encode(array.tobytes()).decode()

    with wire.Child([*run.words, "--serve-stdin"]) as child:
        assert child.call("hello", timeout=20)["model"] == "sample"
        given = {"inputs": {"x": packed(X), "counts": packed(COUNTS)}}
        (y, total) = child.call("run", given, timeout=20)
        assert np.array_equal(
            np.frombuffer(base64.b64decode(y["data"]), np.float32), (2 * X + 1)[0]
        )
        assert total == {"name": "total", "data": packed(np.array([18]))}
        found = child.call("time", {"count": 7, "limit_s": 5}, timeout=20)
        assert len(found["ns"]) == 7
        assert min(found["ns"]) > 0
        with pytest.raises(InputError, match="input counts: wants 24 bytes"):
            child.call("run", {"inputs": {"x": packed(X), "counts": "AAAA"}}, timeout=20)
        with pytest.raises(UsageError, match="count and limit_s"):
            child.call("time", {"count": 0, "limit_s": 5}, timeout=20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bogus"], "--bogus: there is no such option"),
        (["--threads", "0"], "--threads 0: wants a whole number from 1"),
        (["--threads", "65"], "--threads 65: wants a whole number from 1 to 64"),
        (["--duration=fast"], "wants a number from"),
        (["--percentile=101"], "numbers from 0 to 100"),
        (["--cpus=3-1"], "wants CPUs such as"),
        (["--cpus=0", "--instances=2"], "want a CPU for each thread"),
        (["--raw", "--describe"], "give one of"),
        (["--json=yes"], "takes no value"),
        (["another.so"], "one library is all"),
        (["--iterations"], "wants a value"),
    ],
)
def test_wrong_usage(run: Program, options: list[str], said: str) -> None:
    assert said in run.refuses(*options, code=2)


def test_no_library() -> None:
    run = Program([str(native_programs.run_program(targets.load("host")))])
    assert "give the library" in run.refuses(code=2)
    assert run("--version")[0].startswith(b"tvmkd-run ")
    assert b"--warmUp MS" in run("--help")[0]


def npy(version: tuple[int, int], header: str, data: bytes) -> bytes:
    text = header.encode()
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no .npy file"),
        (b"\x93NUMPY\x03\x00" + bytes(20), "has .npy version 3"),
        (npy((1, 0), GOOD, X.tobytes()[:-1]), "more or fewer bytes"),
        (npy((1, 0), GOOD, X.tobytes() + b"x"), "more or fewer bytes"),
        (npy((1, 0), GOOD.replace("<f4", "<f8"), X.tobytes()), "holds dtype <f8, and x expects"),
        (npy((1, 0), GOOD.replace("<f4", ">f4"), X.tobytes()), "holds dtype >f4"),
        (npy((1, 0), GOOD.replace("(1, 4)", "(4,)"), X.tobytes()), "has shape (4,), and x expects"),
        (npy((1, 0), GOOD.replace("(1, 4)", "(4)"), X.tobytes()), "damaged header"),
        (npy((1, 0), GOOD.replace("False", "True"), X.tobytes()), "Fortran order"),
        (npy((1, 0), GOOD.replace("'shape'", "'shope'"), X.tobytes()), "damaged header"),
        (npy((1, 0), GOOD + "x", X.tobytes()), "damaged header"),
        (npy((1, 0), GOOD.replace("1, 4", "99999999999999999999, 4"), b""), "damaged header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "damaged header"),
    ],
)
def test_damaged_npy_files(run: Program, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    assert said in run.refuses("--input", f"x={tmp_path}/x.npy", "--output", tmp_path, code=4)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_npy_version_2_and_what_numpy_writes(run: Program, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy((2, 0), GOOD, X.tobytes()))
    run("--input", f"x={tmp_path}/x.npy", "--output", tmp_path / "out")
    assert np.array_equal(np.load(tmp_path / "out/y.npy"), 2 * X + 1)


def test_bad_inputs(run: Program, tmp_path: Path) -> None:
    save(tmp_path)
    said = run.refuses("--input", f"z={tmp_path}/x.npy", code=4)
    assert "the model has no such input (inputs: x, counts)" in said
    said = run.refuses("--input", f"x={tmp_path}/none.npy", code=4)
    assert f"{tmp_path}/none.npy: No such file" in said
    said = run.refuses("--compare", tmp_path / "nowhere", code=4)
    assert "nowhere/y.npy: No such file" in said
    said = run.refuses("--output", "/proc/nothing", code=4)
    assert "/proc/nothing: cannot be made" in said
    frame = X.tobytes() + COUNTS.tobytes()
    _, said = run("--raw", given=frame + frame[:7], code=4)
    assert "frame 1 on stdin ends after 7 of 40 bytes" in said


def test_bad_libraries(host: targets.Target, run: Program, tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        return Program([run.words[0], str(path)]).refuses("--describe", code=4)

    assert "No such file" in refusal(tmp_path / "none.so")
    (tmp_path / "text.so").write_text("hello")
    assert "not a shared library" in refusal(tmp_path / "text.so")
    other = "x86_64" if host.architecture == "aarch64" else "aarch64"
    nano = targets.load("jetson-nano" if other == "aarch64" else "x86-64-v3")
    assert "built for another machine" in refusal(
        sample_library.shared(nano, tmp_path / "other.so")
    )
    bad = sample_library.shared(host, tmp_path / "bad.so", "-DSAMPLE_BAD")
    assert "describes an input or an output that cannot be" in refusal(bad)
    plain = tmp_path / "plain.so"
    subprocess.run([*host_compiler(), "-shared", "-x", "c", "/dev/null", "-o", plain], check=True)
    assert "is no standalone model" in refusal(plain)


def test_a_library_that_refuses_or_fails(
    run: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", np.array([[1002, 0, 0, 0]], np.float32))
    said = run.refuses("--input", f"x={tmp_path}/x.npy", "--output", tmp_path / "out", code=70)
    assert said == "tvmkd-run: sample: the run failed: kernel 7 was asked to fail"
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("SAMPLE_REFUSES", "1")
    assert "cannot be opened: this CPU lacks instructions" in run.refuses("--raw", code=4)


def test_a_full_disk_leaves_nothing(run: Program, tmp_path: Path) -> None:
    # RLIMIT_FSIZE stands for the disk: writes beyond it fail.
    command = f"trap '' XFSZ; ulimit -f 0; exec {' '.join(run.words)} --output {tmp_path}/out"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 4
    assert "y.npy: cannot be written: File too large" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
