from __future__ import annotations

import json
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from small import small

from tvmkd.base.errors import InputError
from tvmkd.distill import distill
from tvmkd.models import checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    # Of the whole module: `finished` must be trained as what it is compared with. Sums over
    # several threads are added in another order.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, one_thread):
    folder = tmp_path_factory.mktemp("run")
    return distill(small(), folder)


def weights(path: Path) -> str:
    return checkpoint.fingerprint(checkpoint.load(path).state)


def test_all_of_it_is_there(finished):
    folder = finished.checkpoint.parent
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    trained = [f"students/{kind}-{n}" for kind in ("distilled", "baseline") for n in (0, 1)]
    each = {f"{name}{end}" for name in ("teacher", *trained) for end in (".pt", ".history.jsonl")}
    assert names == {"student.pt", "metrics.json", "training.html", *each}


def test_the_numbers_are_those_of_the_runs(finished):
    metrics = json.loads(finished.metrics.read_text())
    assert metrics["data"]["images"] == {"train": 256, "val": 341, "test": 1200}
    for kind in ("distilled", "baseline"):
        scores = [r["test_accuracy"] for r in metrics["runs"] if r["kind"] == kind]
        assert len(scores) == 2
        assert metrics["summary"][kind]["mean"] == pytest.approx(statistics.fmean(scores))
        assert metrics["summary"][kind]["std"] == pytest.approx(statistics.stdev(scores))
    assert metrics["teacher"]["macs"] > metrics["student"]["macs"] > 0
    assert [line.split()[0] for line in finished.lines()] == ["teacher", "distilled", "baseline"]


def test_the_best_distilled_student_on_validation_is_chosen(finished):
    distilled = [run for run in finished.runs if run.kind == "distilled"]
    assert finished.chosen == max(distilled, key=lambda run: run.val_accuracy)
    student = checkpoint.load(finished.checkpoint)
    assert checkpoint.fingerprint(student.state) == weights(finished.chosen.checkpoint)
    assert student.optimizer is None
    assert student.meta["teacher"] == "residual"
    assert f"{finished.chosen.test_accuracy:.4f}" in student.meta["metric"]
    assert student.meta["input_shape"] == "1,1,8,8"
    assert json.loads(student.meta["preprocessing"])["mean"] == [0.305]


def test_the_teacher_and_the_seed_matter(finished):
    prints = {weights(run.checkpoint) for run in finished.runs}
    assert len(prints) == 4


def test_the_same_seeds_give_the_same_weights(finished, tmp_path):
    again = distill(small(), tmp_path)
    assert [weights(run.checkpoint) for run in again.runs] == [
        weights(run.checkpoint) for run in finished.runs
    ]


def test_training_learns(tmp_path):
    cfg = small(
        data={"image_size": 16},
        distill={"epochs": 20, "seeds": [0], "loss": "ce", "lr": 1e-2},
        student={"args": {"stem": 16, "blocks": [[32, 1], [64, 1]]}},
    )
    result = distill(cfg, tmp_path)
    assert result.teacher is None
    assert result.accuracies("baseline")[0] > 0.6
    assert not (tmp_path / "teacher.pt").exists()


def test_what_is_done_is_not_done_again(finished, tmp_path):
    folder = finished.checkpoint.parent
    times = {run.checkpoint: run.checkpoint.stat().st_mtime_ns for run in finished.runs}
    again = distill(small(), folder)
    assert {run.checkpoint: run.checkpoint.stat().st_mtime_ns for run in again.runs} == times
    assert again.accuracies("distilled") == finished.accuracies("distilled")


def test_another_setting_starts_again(tmp_path):
    cfg = small(distill={"loss": "kd", "seeds": [0], "baseline": False})
    first = weights(distill(cfg, tmp_path).chosen.checkpoint)
    teacher = (tmp_path / "teacher.pt").stat().st_mtime_ns
    hotter = small(distill={"loss": "kd", "seeds": [0], "baseline": False, "temperature": 2.0})
    assert weights(distill(hotter, tmp_path).chosen.checkpoint) != first
    assert (tmp_path / "teacher.pt").stat().st_mtime_ns == teacher


def test_a_damaged_checkpoint_is_trained_again(tmp_path, capsys):
    cfg = small(distill={"seeds": [0], "baseline": False})
    path = distill(cfg, tmp_path).chosen.checkpoint
    whole = weights(path)
    path.write_bytes(path.read_bytes()[:1000])
    assert weights(distill(cfg, tmp_path).chosen.checkpoint) == whole
    assert "starts again" in capsys.readouterr().err


TOOLBOX = {
    "seeds": [0],
    "baseline": False,
    "hard_mining": 2.0,
    "curriculum": "root",
    "features": [
        {"loss": "hint", "student": "features.3", "teacher": "blocks.0", "schedule": "decay"},
        {"loss": "attention", "student": "features.3", "teacher": "blocks.0", "weight": 10.0},
    ],
}


def test_the_whole_toolbox_trains_and_goes_on_after_a_stop(tmp_path):
    whole = distill(small(distill=TOOLBOX), tmp_path / "a").chosen

    class Stop(Exception):
        pass

    def stop(path, epoch, model):
        raise Stop

    with pytest.raises(Stop):
        distill(small(distill=TOOLBOX), tmp_path / "b", after_checkpoint=stop, checkpoint_seconds=0)
    again = distill(small(distill=TOOLBOX), tmp_path / "b").chosen
    assert weights(again.checkpoint) == weights(whole.checkpoint)
    plain = small(distill={**TOOLBOX, "features": []})
    assert weights(distill(plain, tmp_path / "c").chosen.checkpoint) != weights(whole.checkpoint)


def test_a_path_that_leads_nowhere_is_told_before_any_training(tmp_path):
    lost = {"loss": "hint", "student": "feature.3", "teacher": "blocks.0"}
    with pytest.raises(InputError, match=r'there is no module "feature.3" in it; did you mean'):
        distill(small(distill={"features": [lost]}), tmp_path)
    assert not (tmp_path / "teacher.pt").exists()


def test_without_augmentation_the_teacher_is_asked_once(tmp_path):
    cfg = small(data={"augment": "none"}, distill={"seeds": [0, 1], "baseline": False})
    distill(cfg, tmp_path)
    (kept,) = (tmp_path / "teacher").iterdir()
    assert kept.name.startswith("logits-")
    before = kept.stat().st_mtime_ns
    longer = {"seeds": [0], "baseline": False, "epochs": 4}
    distill(small(data={"augment": "none"}, distill=longer), tmp_path)
    assert kept.stat().st_mtime_ns == before


def test_killed_and_started_again_ends_the_same(finished, tmp_path):
    """SIGKILL after the first checkpoint of a student; the same Trainer trains the teacher."""
    stop = "students/distilled-0.pt"
    script = f"""
        import os, signal, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        import torch
        from pathlib import Path
        from small import small
        from tvmkd.distill import distill
        from tvmkd.models import checkpoint
        torch.set_num_threads(1)
        save = checkpoint.save
        def save_and_die(path, state):
            save(path, state)
            if str(path).endswith({stop!r}):
                assert state.epoch == 1
                os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.save = save_and_die
        distill(small(), Path({str(tmp_path)!r}), checkpoint_seconds=0)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=120)
    assert done.returncode == -9
    assert checkpoint.load(tmp_path / stop).epoch == 1
    result = distill(small(), tmp_path)
    assert weights(tmp_path / "teacher.pt") == weights(finished.checkpoint.parent / "teacher.pt")
    assert [weights(run.checkpoint) for run in result.runs] == [
        weights(run.checkpoint) for run in finished.runs
    ]


def test_checkpoints_come_at_most_so_often(tmp_path):
    epochs: list[int] = []
    cfg = small(distill={"seeds": [0], "loss": "ce"})
    distill(cfg, tmp_path / "a", after_checkpoint=lambda path, epoch, model: epochs.append(epoch))
    assert epochs == [3]
    epochs.clear()
    distill(
        cfg,
        tmp_path / "b",
        after_checkpoint=lambda path, epoch, model: epochs.append(epoch),
        checkpoint_seconds=0,
    )
    assert epochs == [1, 2, 3]


def test_the_hook_can_end_a_training(tmp_path):
    def over_budget(path, epoch, model):
        raise InputError("over budget")

    with pytest.raises(InputError, match="over budget"):
        distill(small(distill={"loss": "ce"}), tmp_path, after_checkpoint=over_budget)


def test_a_teacher_with_weights_is_not_trained(finished, tmp_path):
    ready = finished.checkpoint.parent / "teacher.pt"
    cfg = small(teacher={"checkpoint": str(ready)}, distill={"seeds": [0], "baseline": False})
    result = distill(cfg, tmp_path)
    assert not (tmp_path / "teacher.pt").exists()
    assert result.teacher.test_accuracy == finished.teacher.test_accuracy
    assert weights(result.chosen.checkpoint) == weights(finished.runs[0].checkpoint)


def test_a_student_with_weights_is_not_trained(finished, tmp_path):
    cfg = small(student={"checkpoint": str(finished.checkpoint)})
    result = distill(cfg, tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert names == {"students/given.pt", "student.pt", "metrics.json"}, "nor is its teacher"
    assert weights(result.checkpoint) == weights(finished.checkpoint)
    (run,) = result.runs
    assert (run.kind, run.test_accuracy) == ("distilled", finished.chosen.test_accuracy)
    assert result.teacher is None
    teacher = {"checkpoint": str(finished.checkpoint.with_name("teacher.pt"))}
    result = distill(small(student={"checkpoint": str(run.checkpoint)}, teacher=teacher), tmp_path)
    assert result.teacher is not None
    assert result.teacher.test_accuracy == finished.teacher.test_accuracy
    wrong = small(student={"checkpoint": teacher["checkpoint"]})
    with pytest.raises(InputError, match=r'not the weights of student "depthwise"'):
        distill(wrong, tmp_path)


def test_zero_epochs_takes_the_teacher_as_it_comes(tmp_path):
    cfg = small(teacher={"epochs": 0}, distill={"seeds": [0], "baseline": False, "epochs": 1})
    result = distill(cfg, tmp_path)
    assert not (tmp_path / "teacher.pt").exists()
    assert result.teacher.seconds == 0


def test_dkd_and_a_latency_model_of_the_users_train_too(tmp_path):
    (tmp_path / "my_latency_model.py").write_text(
        "def estimate(model):\n    return model.head.weight.square().sum() * 1000\n"
    )
    section = {"loss": "dkd", "seeds": [0], "baseline": False, "latency_weight": 0.1}
    cfg = small(distill={**section, "latency": "my_latency_model:estimate"})
    pulled = distill(cfg, tmp_path / "a", search_in=[tmp_path])
    free = distill(small(distill={"loss": "dkd", "seeds": [0], "baseline": False}), tmp_path / "b")

    def size(result):
        return float(checkpoint.load(result.checkpoint).state["head.weight"].norm())

    assert size(pulled) < 0.9 * size(free)


def test_a_model_from_a_file_beside_the_config(tmp_path):
    (tmp_path / "my_student_net.py").write_text(
        "from torch import nn\n"
        "def tiny(width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(),"
        " nn.Linear(width, 10))\n"
    )
    cfg = small(
        student={"model": "my_student_net:tiny", "args": {"width": 8}}, distill={"loss": "ce"}
    )
    result = distill(cfg, tmp_path / "out", search_in=[tmp_path])
    saved = checkpoint.load(result.checkpoint)
    assert saved.model == {"spec": "my_student_net:tiny", "kwargs": {"width": 8}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": {"model": "depthwize"}}, 'did you mean "depthwise"'),
        ({"student": {"args": {"classes": 3}}}, r"\[1, 3\].*10 classes"),
        ({"teacher": {"args": {"channels": 3}}}, r'teacher "residual": cannot take an image'),
        ({"teacher": {"checkpoint": "/nowhere.pt"}}, "there is no such checkpoint"),
        ({"teacher": {"args": {"classes": 3}}}, r'teacher "residual": .*\[1, 3\].*10 classes'),
        (
            {"teacher": {"ensemble": [{"model": "mlp", "args": {"classes": 3}}]}},
            r'teacher "mlp": .*\[1, 3\].*10 classes',
        ),
        ({"data": {"batch_size": 1}}, "batch_size 1.*less than 2 images"),
        ({"distill": {"lr": 1e30}}, r"student \(seed 0\): the loss is nan.*lower its lr"),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        distill(small(**changes), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_finite_loss_with_a_gradient_of_nan_is_told(finished, tmp_path):
    (tmp_path / "my_rooted_loss.py").write_text(
        "def loss(student, teacher, labels):\n"
        "    return (student - student.detach()).square().sum().sqrt()\n"
    )
    ready = {"checkpoint": str(finished.checkpoint.with_name("teacher.pt"))}
    cfg = small(teacher=ready, distill={"loss": "my_rooted_loss:loss"})
    with pytest.raises(
        InputError, match=r"student \(seed 0\): the gradient's norm is nan in batch"
    ):
        distill(cfg, tmp_path / "out", search_in=[tmp_path])
    assert not (tmp_path / "out" / "students").exists()


def test_an_ensemble_is_asked_once_where_images_are_not_augmented(finished, tmp_path):
    ready = str(finished.checkpoint.with_name("teacher.pt"))
    quick = {"seeds": [0], "baseline": False, "epochs": 1}
    both = {"checkpoint": ready, "ensemble": [{"model": "mlp", "args": {"width": 0.25}}, {}]}
    both["ensemble"][1]["checkpoint"] = ready
    both["average"] = "probabilities"
    cfg = small(data={"augment": "none"}, teacher={**both, "epochs": 1}, distill=quick)
    result = distill(cfg, tmp_path)
    (kept,) = (tmp_path / "teacher").iterdir()
    assert (tmp_path / "teacher-2.pt").is_file()
    assert not (tmp_path / "teacher.pt").exists()
    assert result.teacher.model == "residual + mlp + residual"
    assert result.teacher.macs > 2 * finished.teacher.macs
    probabilities = torch.from_numpy(np.load(kept)).exp().sum(1)
    torch.testing.assert_close(probabilities, torch.ones(256), atol=1e-4, rtol=0)
    times = (tmp_path / "teacher-2.pt").stat().st_mtime_ns, kept.stat().st_mtime_ns
    assert distill(cfg, tmp_path).accuracies("distilled") == result.accuracies("distilled")
    assert times == ((tmp_path / "teacher-2.pt").stat().st_mtime_ns, kept.stat().st_mtime_ns)


def test_dot_gives_another_student_and_the_baseline_sgd(finished, tmp_path):
    ready = {"checkpoint": str(finished.checkpoint.with_name("teacher.pt"))}
    quick = {"seeds": [0], "epochs": 1, "lr": 0.05}
    found = {
        name: distill(small(teacher=ready, distill={**quick, "optimizer": name}), tmp_path / name)
        for name in ("sgd", "dot")
    }
    distilled, baseline = (
        [weights(result.runs[number].checkpoint) for result in found.values()] for number in (0, 1)
    )
    assert distilled[0] != distilled[1]
    assert baseline[0] == baseline[1]


def test_a_mistake_in_the_student_shows_before_the_teacher_is_trained(tmp_path):
    with pytest.raises(InputError):
        distill(small(student={"args": {"stem": 8, "layers": 2}}), tmp_path)
    assert not (tmp_path / "teacher.pt").exists()


def test_the_student_is_rounded_for_the_target_and_the_teacher_is_not(tmp_path):
    cfg = small(
        teacher={"model": "mlp", "args": {"width": 0.25}, "epochs": 1},
        student={"model": "bottleneck", "args": {"width": 0.25}},
        distill={"seeds": [0], "baseline": False, "epochs": 1},
    )
    result = distill(cfg, tmp_path, multiple=16)
    data = {"classes": 10, "channels": 1, "size": 8, "width": 0.25}
    assert checkpoint.load(result.checkpoint).model["kwargs"] == {**data, "multiple": 16}
    assert checkpoint.load(tmp_path / "teacher.pt").model["kwargs"] == data
    # The args of the config have the last word.
    own = {"args": {"stem": 8, "blocks": [[8, 1]], "multiple": 8}}
    cfg = small(student=own, distill={"seeds": [0], "loss": "ce", "epochs": 1})
    result = distill(cfg, tmp_path / "b", multiple=16)
    assert checkpoint.load(result.checkpoint).model["kwargs"]["multiple"] == 8
