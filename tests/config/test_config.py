from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tvmkd import config
from tvmkd.base import engine_registry, stack_registry
from tvmkd.base.errors import InputError

NAMED = {"project": {"name": "a"}}


def test_a_name_is_enough() -> None:
    cfg = config.parse(NAMED)
    assert cfg.project.out == Path("runs/a")
    assert cfg.tune.tracker == "local"
    assert cfg.compare.engines == list(engine_registry.RUN)
    assert cfg.tune.stack == stack_registry.DEFAULT


def test_a_file_may_name_every_engine_and_every_stack() -> None:
    names = [*engine_registry.ENGINES, "mine.engines:Engine"]
    assert config.parse({**NAMED, "compare": {"engines": names}}).compare.engines == names
    for name in stack_registry.names():
        assert config.parse({**NAMED, "tune": {"stack": name}}).tune.stack == name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r'"project" is missing; add it'),
        ({"projct": {"name": "a"}}, r'unknown section "projct"; did you mean "project"\?'),
        ({**NAMED, "tune": {"trails": 3}}, r'unknown key "tune.trails"; did you mean "trials"\?'),
        ({**NAMED, "gate": {"zzz": 3}}, r'unknown key "gate.zzz"; known: require'),
        (
            {**NAMED, "compare": {"engines": ["tensorrt", "onnxruntim"]}},
            r'compare.engines.1: no engine "onnxruntim"; did you mean "onnxruntime"\?',
        ),
        (
            {**NAMED, "tune": {"stack": "rely"}},
            r'tune.stack: unknown stack "rely"; did you mean "relay"\? \(known: relax, relay\)',
        ),
        ({**NAMED, "tune": {"trials": 0}}, r"tune.trials: .*greater than or equal to 1, got 0"),
        ({**NAMED, "tune": {"tracker": "h:x"}}, r'"h:x" is not a tracker address'),
        ({**NAMED, "data": {"dataset": "folder"}}, r'dataset = "folder" needs a path'),
        ({**NAMED, "data": {"val_fraction": 0.6, "test_fraction": 0.5}}, r"leave nothing to train"),
        (
            {**NAMED, "data": {"camera": {"motoin": [0, 1]}}},
            r'unknown key "data.camera.motoin"; did you mean "motion"\?',
        ),
        (
            {**NAMED, "data": {"camera": {"jpeg": [90, 60]}}},
            r"data.camera.jpeg: a range is \[lowest, highest\], got \[90, 60\]",
        ),
        (
            {**NAMED, "data": {"camera": {"full_well": [0, 60]}}},
            r"data.camera.full_well.0: .*greater than or equal to 1, got 0",
        ),
        (
            {**NAMED, "data": {"camera": {"effects": ["shake"]}}},
            r"data.camera.effects.0: .*'motion'.*, got 'shake'",
        ),
        (
            {**NAMED, "data": {"augment": "flip", "camera": {"jpeg": [1, 2]}}},
            r'\[data.camera\] has no effect with data.augment = "flip"; set "camera"',
        ),
        ({**NAMED, "data": {"augment": "camrea"}}, r"data.augment: .*'camera\+affine'"),
        ({**NAMED, "distill": {"alpha": 1.5}}, r"distill.alpha: .*less than or equal to 1"),
        ({**NAMED, "distill": {"seeds": []}}, r"distill.seeds: .*at least 1 item"),
        ({**NAMED, "distill": {"seeds": [1, 1]}}, r"distill.seeds: the seeds must differ"),
        (
            {**NAMED, "distill": {"loss": "ce", "curriculum": "linear", "hard_mining": 1.0}},
            r'loss = "ce" has no teacher, and hard_mining, curriculum needs one',
        ),
        (
            {
                **NAMED,
                "distill": {
                    "views": 2,
                    "features": [{"loss": "hint", "student": "a", "teacher": "b"}],
                },
            },
            "distill: views keeps the teacher's logits, and features runs the teacher",
        ),
        (
            {**NAMED, "data": {"dataset": "scenes", "image_size": 96}, "distill": {"views": 2}},
            r"distill.views is for classifiers; detectors have detection.variants",
        ),
        ({**NAMED, "distill": {"views": -1}}, r"distill.views: .*greater than or equal to 0"),
        ({**NAMED, "data": {"dataset": "webdataset"}}, r'dataset = "webdataset" needs a path'),
        (
            {**NAMED, "distill": {"features": [{"loss": "hint", "studnet": "a", "teacher": "b"}]}},
            r'unknown key "distill.features.0.studnet"; did you mean "student"\?',
        ),
        ({**NAMED, "compare": {"engines": ["tmv"]}}, r"compare.engines.0: .*got 'tmv'"),
        ({"project": {"name": "../up"}}, r"project.name: "),
    ],
)
def test_a_mistake_is_one_line_that_names_it(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        config.parse(data, "my.toml")
    assert str(caught.value).startswith("my.toml: ")
    assert "\n" not in str(caught.value)


def test_dot_needs_a_loss_that_it_can_divide() -> None:
    for other in (
        {"early_exit": {"exits": ["a"]}},
        {"search": {"method": "supernet", "space": {"distill.lr": [0.1]}}},
    ):
        with pytest.raises(InputError, match=r'optimizer = "dot" and \[.*do not go together'):
            config.parse({**NAMED, "distill": {"optimizer": "dot"}, **other})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.toml: there is no such file"):
        config.read(tmp_path / "gone.toml")
    (tmp_path / "bad.toml").write_text('[project\nname = "a"')
    with pytest.raises(InputError, match=r"bad.toml: not a TOML file: .*line 1"):
        config.read(tmp_path / "bad.toml")
    with pytest.raises(InputError, match="cannot be read"):
        config.read(tmp_path)


SCENES: dict[str, Any] = {"dataset": "scenes", "image_size": 64}


def detector(**sections: dict[str, Any]) -> config.Config:
    return config.parse({"project": {"name": "d"}, "data": SCENES, **sections})


def test_a_detector_is_described_by_its_data() -> None:
    assert detector().data.detection
    assert detector(distill={"loss": "ce"}, detection={"boxes": 0.0}).detection.boxes == 0
    assert not config.parse({"project": {"name": "d"}}).data.detection
    again = config.parse(detector().model_dump(mode="json", exclude_none=True))
    assert again == detector()


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"data": {"dataset": "voc", "image_size": 64}}, 'dataset = "voc" needs a path'),
        ({"data": {**SCENES, "image_size": 32}}, "image_size of 64 or more"),
        ({"data": {**SCENES, "augment": "camera"}}, r"\[detection\] augment"),
        ({"data": {**SCENES, "classes": ["a"]}}, "classes is the class map"),
        ({"data": {**SCENES, "scenes": [0, 1, 1]}}, "data.scenes.0"),
        ({"distill": {"hard_mining": 1.0}}, "distill.hard_mining is for classifiers"),
        ({"distill": {"curriculum": "root"}}, "distill.curriculum is for classifiers"),
        ({"early_exit": {"exits": ["a"]}}, "early_exit is for classifiers"),
        ({"teacher": {"augment": "none"}}, "teacher.augment is for classifiers"),
        ({"student": {"images": 10}}, "student.images is for classifiers"),
        ({"teacher": {"ensemble": [{}]}}, "teacher.ensemble is for classifiers"),
        ({"teacher": {"assistants": [{"model": "a"}]}}, "teacher.assistants is for classifiers"),
        ({"distill": {"logits": [{"loss": "kd"}]}}, "distill.logits is for classifiers"),
        ({"distill": {"optimizer": "dot"}}, "distill.optimizer is for classifiers"),
        ({"detection": {"augment": ["blur"]}}, "detection.augment.0"),
        ({"data": {}, "detection": {"variants": 2}}, "needs \\[data\\] dataset"),
        ({"data": {}, "teacher": {"backbone": "a.pt"}}, "backbone is for detectors"),
    ],
)
def test_what_does_not_go_with_a_detector_is_refused(
    sections: dict[str, dict[str, Any]], line: str
) -> None:
    with pytest.raises(InputError, match=line):
        detector(**sections)


def test_a_fault_of_two_sections_is_named_after_neither() -> None:
    with pytest.raises(InputError, match=r"^a\.toml: \[data\.camera\] has no effect"):
        config.parse({**NAMED, "data": {"camera": {"jpeg": [1, 2]}}}, "a.toml")


def test_a_student_that_is_given_is_not_searched_for() -> None:
    given = {"student": {"checkpoint": "student.pt"}}
    assert config.parse({**NAMED, **given}).student.checkpoint == Path("student.pt")
    search = {"search": {"space": {"width": [1, 2]}}}
    with pytest.raises(InputError, match=r"checkpoint and \[search\] do not go together"):
        config.parse({**NAMED, **given, **search})


def test_a_detector_is_pruned_quantised_and_exported_like_a_classifier() -> None:
    sections = {"prune": {}, "quantize": {}, "export": {"precision": "int8"}}
    assert detector(**sections).export.precision == "int8"
    assert detector(export={"precision": "fp16", "keep_fp32": ["head"]}).export.keep_fp32


SHAPED = {"latency": "table", "latency_weight": 0.5}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"beta": 1.0}, r'beta has no effect with loss = "kd", the default: remove it'),
        ({"loss": "nkd", "beta": 1.0}, r'beta has no effect with loss = "nkd": remove it'),
        ({"loss": "mse", "temperature": 2.0}, r"temperature has no effect"),
        ({"loss": "mlkd", "temperature": 2.0}, r"temperature has no effect"),
    ],
)
def test_keys_that_the_loss_does_not_read_are_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=rf"distill\.{told}"):
        config.parse({**NAMED, "distill": given})
    assert config.parse({**NAMED, "distill": {**given, "loss": "dkd"}})
    assert detector(distill=given)
    exits = {"early_exit": {"exits": ["a"]}}
    if "temperature" in given:
        assert config.parse({**NAMED, **exits, "distill": given})
    usual = config.parse({**NAMED, "distill": {"loss": "mlkd", "standardize": True}})
    # As a run writes it, and reads it again.
    assert config.parse({**NAMED, "distill": usual.distill.model_dump(exclude_unset=False)})


def test_a_search_predicts_no_mean_budget() -> None:
    section = {"exits": ["a"], "mean_budget": "1ms"}
    with pytest.raises(
        InputError, match=r"early_exit.mean_budget and \[search\] do not go together"
    ):
        config.parse({**NAMED, "early_exit": section, "search": {"space": {"width": [16, 32]}}})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"distill": SHAPED, "early_exit": {"exits": ["a"]}},
            r"\[early_exit\] and distill.latency",
        ),
        (
            {"distill": {"watch": "8ms"}, "export": {"precision": "fp16"}},
            r'distill.watch measures .*export.precision = "fp16"',
        ),
    ],
)
def test_sections_that_do_not_go_with_a_learnt_structure_or_a_watch(
    sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        config.parse({**NAMED, **sections})


@pytest.mark.parametrize(
    ("sections", "other"),
    [
        ({"distill": SHAPED}, 'distill.latency = "table"'),
        (
            {"search": {"method": "supernet", "space": {"width": [1, 2]}}},
            'search.method = "supernet"',
        ),
    ],
)
def test_branches_and_a_training_that_cuts_channels_do_not_go_together(
    sections: dict[str, Any], other: str
) -> None:
    given = {"student": {"reparam": 2}}
    assert config.parse({**NAMED, **given}).student.reparam == 2
    with pytest.raises(InputError, match=f"student.reparam and {re.escape(other)} do not go"):
        config.parse({**NAMED, **given, **sections})


def test_detectors_are_shaped_too_but_not_chosen_by_their_multiply_accumulates() -> None:
    data = {**NAMED, "data": {"dataset": "scenes", "image_size": 64}}
    assert config.parse({**data, "distill": SHAPED}).distill.shaped
    with pytest.raises(InputError, match=r"distill.latency_weight is for classifiers"):
        config.parse({**data, "distill": {"latency_weight": 0.5}})
