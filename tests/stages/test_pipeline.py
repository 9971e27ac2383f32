from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nets
import pytest

from tvmkd import config
from tvmkd.base.errors import InputError, UsageError
from tvmkd.cli import run as run_verb
from tvmkd.stacks import worker_pool
from tvmkd.stacks.worker_pool import Pool
from tvmkd.stages import pipeline

CONFIG: dict[str, Any] = {
    "project": {"name": "toy"},
    "teacher": {"model": "toy_nets:net", "args": {"width": 32}, "epochs": 2},
    "student": {"model": "toy_nets:net", "args": {"width": 8}},
    "data": {"augment": "none"},
    "distill": {"epochs": 2, "seeds": [0]},
    "target": {"name": "host"},
    "tune": {"trials": 6},
    "compare": {
        "engines": ["onnxruntime", "tvm:untuned", "tvm"],
        "threads": 1,
        "seconds": 0.1,
        "rounds": 2,
        "processes": 1,
    },
    "gate": {"require": ["tvm.p50 < 1s"]},
}


def parsed(folder: Path, **changes: dict[str, Any]) -> config.Config:
    data = {name: {**section, **changes.get(name, {})} for name, section in CONFIG.items()}
    data["project"]["out"] = str(folder / "run")
    return config.parse(data)


def write(folder: Path, **changes: dict[str, Any]) -> Path:
    """The same as a file, for the command line."""
    lines = []
    for name, section in (
        parsed(folder, **changes).model_dump(mode="json", exclude_none=True).items()
    ):
        lines.append(f"[{name}]")
        for key, value in section.items():
            if isinstance(value, dict):
                pairs = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
                lines.append(f"{key} = {{{pairs}}}")
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    path = folder / "tvmkd.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    (folder / "toy_nets.py").write_text(nets.MODULE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, workers: Pool) -> Path:
    """A folder with a config, the user's own networks, and one finished run."""
    folder = tmp_path_factory.mktemp("pipeline")
    write(folder)
    with worker_pool.shared(workers):
        results = pipeline.run(parsed(folder), search_in=[folder])
    assert set(results) == set(pipeline.STAGES) - set(pipeline.OPTIONAL)
    return folder


def stages_that_ran(folder: Path, capfd: pytest.CaptureFixture[str], **changes: Any) -> set[str]:
    capfd.readouterr()
    pipeline.run(parsed(folder, **changes), search_in=[folder])
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("[")]
    return {line.split()[1].rstrip(":") for line in lines if "done in" in line}


@pytest.mark.slow
@pytest.mark.rpc
def test_everything_is_there_at_the_end(workplace: Path) -> None:
    run = workplace / "run"
    results = json.loads((run / "summary.json").read_text())
    assert results["gate"]["passed"] is True
    assert set(results["compare"]["engines"]) == {"onnxruntime", "tvm:untuned", "tvm"}
    assert set(results["distill"]["summary"]) == {"distilled", "baseline"}
    assert results["tune"]["trials"] == 6
    assert results["build"]["coverage"]["tuned"] > 0
    assert results["build"]["check"]["real_samples"] == pipeline.SAMPLES
    assert results["compare"]["teacher_ms"] > 0
    assert "<svg" in (run / "report.html").read_text()
    state = json.loads((run / "state.json").read_text())
    assert set(state["stages"]) == set(pipeline.STAGES) - set(pipeline.OPTIONAL)


@pytest.mark.slow
@pytest.mark.rpc
def test_only_what_reads_a_change_runs_again(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On a real run; each input of each stage is changed in test_inputs."""
    assert stages_that_ran(workplace, capfd) == set()
    hard = parsed(workplace, gate={"require": ["tvm.p50 < 1ns"]})
    assert pipeline.run(hard, search_in=[workplace])["gate"]["passed"] is False
    assert stages_that_ran(workplace, capfd) == {"gate"}


@pytest.mark.slow
@pytest.mark.rpc
def test_ctrl_c_while_tuning_loses_nothing_that_was_measured(
    workplace: Path, tmp_path: Path
) -> None:
    shutil.copytree(workplace / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "records")
    path = write(tmp_path, tune={"trials": 400})
    command = [sys.executable, "-m", "tvmkd", "run", "--config", str(path), "--until", "tune"]
    trials = tmp_path / "run" / "records" / config_target() / "trials.jsonl"
    # All its child processes inherit the mark.
    mark = f"TVMKD_TEST={tmp_path}"
    process = subprocess.Popen(
        ["env", mark, *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 200
        while not (trials.exists() and trials.stat().st_size):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "no trial was made"
            time.sleep(0.2)
        assert len(marked(mark)) > 3, "the run, its worker, the tracker and a board"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "what was done is kept; continue with: tvmkd run" in said
    assert "Traceback" not in said
    before = trials.read_text().splitlines()
    assert 0 < len(before) < 400
    assert not marked(mark), "processes were left behind"
    # Continue, by two trials only.
    path = write(tmp_path, tune={"trials": len(before) + 2})
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "[1/7] distill: nothing it reads has changed, skipped" in done.stderr
    after = trials.read_text().splitlines()
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2


def config_target() -> str:
    from tvmkd import targets

    return targets.host_name()


def marked(mark: str) -> list[str]:
    """Command lines of the running processes that have ``mark`` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended, or belongs to another user
            continue
    return found


def test_mistakes_show_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown target"):
        pipeline.run(parsed(tmp_path, target={"name": "jetson-nanno"}))
    with pytest.raises(UsageError, match="gate: "):
        pipeline.run(parsed(tmp_path, gate={"require": ["tvm.p99 <<"]}))
    assert not (tmp_path / "run").exists()


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is not a run of tvmkd"):
        pipeline.run(parsed(tmp_path))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_the_verb_knows_the_stages() -> None:
    assert run_verb.STAGES == pipeline.STAGES
