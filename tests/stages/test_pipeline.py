from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nets
import pytest
import relay_stack

from tvmkd import artifact, config
from tvmkd.base.errors import InputError, UsageError
from tvmkd.cli import run as run_verb
from tvmkd.stages import pipeline

CONFIG: dict[str, Any] = {
    "project": {"name": "toy"},
    "teacher": {"model": "toy_nets:net", "args": {"width": 32}, "epochs": 2},
    "student": {"model": "toy_nets:net", "args": {"width": 8}},
    "distill": {"epochs": 2, "seeds": [0]},
    "target": {"name": "host"},
    "tune": {"trials": 6},
    "compare": {
        "engines": ["onnxruntime", "tvm:untuned", "tvm"],
        "threads": 1,
        "seconds": 0.1,
        "rounds": 2,
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
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, the user's own networks, and one finished run."""
    folder = tmp_path_factory.mktemp("pipeline")
    write(folder)
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
def test_the_other_stack_tunes_and_builds_where_the_config_says_so(
    workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVMKD_RELAY_PYTHON", relay_stack.relay_python())
    ran = stages_that_ran(workplace, capfd, tune={"stack": "relay"})
    assert ran == {"tune", "build", "compare", "report", "gate"}
    assert artifact.read(workplace / "run" / "artifact").stack == "relay"
    results = json.loads((workplace / "run" / "summary.json").read_text())
    assert results["tune"]["trials"] == 6
    assert set(results["compare"]["engines"]) == {"onnxruntime", "tvm:untuned", "tvm"}
    stages_that_ran(workplace, capfd)
    back = json.loads((workplace / "run" / "summary.json").read_text())
    assert back["tune"]["fresh"] == 0  # each stack's records are kept


@pytest.mark.slow
@pytest.mark.rpc
def test_only_what_reads_a_change_runs_again(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert stages_that_ran(workplace, capfd) == set()
    hard = parsed(workplace, gate={"require": ["tvm.p50 < 1ns"]})
    assert pipeline.run(hard, search_in=[workplace])["gate"]["passed"] is False
    assert stages_that_ran(workplace, capfd) == {"gate"}
    longer = {"compare": {"seconds": 0.12}}
    assert stages_that_ran(workplace, capfd, **longer) == {"compare", "report", "gate"}
    # A file that was lost is made again, and nothing else.
    (workplace / "run" / "report.html").unlink()
    assert stages_that_ran(workplace, capfd, **longer) == {"report"}
    # The user's own code is something that a training reads.
    module = workplace / "toy_nets.py"
    module.write_text(module.read_text() + "\n# changed\n")
    assert "distill" in stages_that_ran(workplace, capfd, **longer)


@pytest.mark.slow
@pytest.mark.rpc
def test_ctrl_c_while_tuning_loses_nothing_that_was_measured(tmp_path: Path) -> None:
    path = write(tmp_path, tune={"trials": 400}, compare={"engines": ["onnxruntime", "tvm"]})
    command = [sys.executable, "-m", "tvmkd", "run", "--config", str(path), "--until", "tune"]
    trials = tmp_path / "run" / "records" / config_target() / "trials.jsonl"
    # Whatever it starts inherits the mark.
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
    # Going on: enough is enough, so that the second half of the test is short.
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
    """Command lines of the living processes that were started with ``mark`` in the environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone, or someone else's
            continue
    return found


def test_mistakes_show_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown target"):
        pipeline.run(parsed(tmp_path, target={"name": "jetson-nanno"}))
    with pytest.raises(UsageError, match="gate: "):
        pipeline.run(parsed(tmp_path, gate={"require": ["tvm.p99 <<"]}))
    assert not (tmp_path / "run").exists()


def test_a_registered_student_is_rounded_for_the_target(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tvmkd.models import checkpoint

    def run(target: str, student: str) -> dict[str, Any]:
        cfg = parsed(
            tmp_path,
            teacher={"model": "residual", "args": {"widths": [8], "depth": 1}},
            student={"model": student, "args": {"width": 0.25} if student == "mlp" else {}},
            distill={"loss": "ce", "epochs": 1},
            target={"name": target},
        )
        (tmp_path / "plain_net.py").write_text(nets.MODULE.replace("width):", "width=8):"))
        pipeline.run(cfg, search_in=[tmp_path], until="distill")
        kwargs: dict[str, Any] = checkpoint.load(tmp_path / "run" / "student.pt").model["kwargs"]
        return kwargs

    known = {"classes": 10, "channels": 1, "size": 32, "width": 0.25}
    assert run("raspberry-pi-4", "mlp") == {**known, "multiple": 8}
    assert run("x86-64-v4", "mlp") == {**known, "multiple": 16}
    assert run("x86-64-v4", "plain_net:net") == {}
    capfd.readouterr()
    assert run("raspberry-pi-4", "plain_net:net") == {}
    assert "distill: nothing it reads has changed, skipped" in capfd.readouterr().err


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is not a run of tvmkd"):
        pipeline.run(parsed(tmp_path))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_the_verb_knows_the_stages() -> None:
    assert run_verb.STAGES == pipeline.STAGES


def test_a_detector_goes_to_a_file_that_says_what_it_finds(tmp_path: Path) -> None:
    """From scenes to an ONNX file that runs on a picture without torch, and to real inputs."""
    import numpy as np
    from tiny_detectors import scenes, small

    from tvmkd.detection import runtime

    pictures = scenes(tmp_path)
    cfg = small(tmp_path, distill={"epochs": 1}, teacher={"epochs": 1})
    results = pipeline.run(cfg, until="export")
    assert results["distill"]["metric"] == "mAP"
    detector = runtime.load(results["export"]["onnx"])
    assert detector.classes == tuple("0123456789")
    detector(next((pictures / "JPEGImages").iterdir()))
    with np.load(cfg.project.out / "inputs.npz") as inputs:
        (array,) = inputs.values()
    assert array.shape == (4, 3, 64, 64)
    assert 0 <= array.min() < array.max() <= 1
    assert runtime.load(cfg.project.out / "teacher.onnx").classes == detector.classes
