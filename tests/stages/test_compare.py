"""Which engines are compared on which files, and by which method."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from toy_run import context

from tvmkd import bench
from tvmkd.base.files import file_hash
from tvmkd.bench import EngineSpec, table
from tvmkd.stages.compare import Compare
from tvmkd.stages.context import RunContext

ENGINES = ["torch", "torch.compile", "onnxruntime", "tvm:untuned", "tvm"]


def specs(folder: Path, *engines: str, **sections: Any) -> list[EngineSpec]:
    section = {"engines": list(engines or ENGINES)}
    return Compare(context(folder, compare=section, **sections))._specs()


def test_each_engine_runs_its_own_file(tmp_path: Path) -> None:
    found = specs(tmp_path, "tvm", "tvm:untuned", "tvm:relay", "onnxruntime", "torch", prune={})
    assert [(spec.name, spec.path and Path(spec.path).name) for spec in found] == [
        ("tvm", "artifact"),
        ("tvm:untuned", "artifact-untuned"),
        ("tvm:relay", None),  # the other stack's
        ("onnxruntime", "student.onnx"),
        ("torch", "pruned.pt"),
    ]


@pytest.mark.parametrize("stack", ["relax", "relay"])
def test_the_artifact_is_of_the_stack_that_built_it(tmp_path: Path, stack: str) -> None:
    names = ["tvm:relax", "tvm:relay"]
    found = specs(tmp_path, *names, tune={"stack": stack})
    paths = {spec.name: spec.path for spec in found}
    assert paths == {
        name: tmp_path / "artifact" if name == f"tvm:{stack}" else None for name in names
    }


def test_the_checkpoint_is_rebuilt_by_the_code_that_the_config_names(tmp_path: Path) -> None:
    found = specs(tmp_path, "torch", "onnxruntime", student={"model": "mine:net"})
    assert dict(found[0].options) == {"model": "mine:net", "search_in": [str(tmp_path)]}
    assert dict(found[1].options) == {}


@pytest.mark.parametrize(
    ("precision", "wanted"),
    [
        ("fp32", dict.fromkeys(ENGINES, "fp32")),
        (
            "fp16",
            {
                "torch": "fp32",
                "torch.compile": "fp32",
                "onnxruntime": "fp16",
                "tvm:untuned": "fp16",
                "tvm": "fp16",
            },
        ),
        # The checkpoint is not the network of the quantised file.
        ("int8", dict.fromkeys(("onnxruntime", "tvm:untuned", "tvm"), "int8")),
    ],
)
def test_an_engine_has_the_precision_of_the_file_that_it_runs(
    tmp_path: Path, precision: str, wanted: dict[str, str]
) -> None:
    found = specs(tmp_path, export={"precision": precision}, quantize={})
    assert {spec.name: spec.precision for spec in found} == wanted


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_outputs_agree_with_the_full_precision_file_where_there_is_another(
    tmp_path: Path, precision: str
) -> None:
    made = context(
        tmp_path,
        export={"precision": precision},
        quantize={},
        compare={"engines": ["onnxruntime"]},
    )
    made.full_precision.write_text("full precision")
    stage = Compare(made)
    half = precision == "fp16"
    assert stage._reference == (made.full_precision if half else None)
    assert stage.inputs()["reference"] == (file_hash(made.full_precision) if half else None)
    assert stage.inputs()["precision"] == precision


class Result(SimpleNamespace):
    """What a comparison returns."""

    def __init__(self, **engines: tuple[float, float]) -> None:
        super().__init__(
            engines=[
                SimpleNamespace(name=name, p50=p50, p99=p99, ci95=(p50, p99))
                for name, (p50, p99) in engines.items()
            ],
            left_out=[SimpleNamespace(name="torch", reason="no checkpoint")],
            method=SimpleNamespace(threads=3),
            verdict=SimpleNamespace(sentence="tvm is fastest"),
            save=Mock(),
        )


def test_the_config_s_method_reaches_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Result(tvm=(1.0, 2.0))
    compare, show = Mock(return_value=result), Mock()

    @contextlib.contextmanager
    def following() -> Iterator[str]:
        yield "follow"

    monkeypatch.setattr(bench, "compare", compare, raising=False)
    monkeypatch.setattr(table, "following", following)
    monkeypatch.setattr(table, "show", show)
    section = {
        "engines": ["onnxruntime"],
        "threads": 5,
        "seconds": 0.5,
        "rounds": 4,
        "processes": 6,
    }
    made = context(
        tmp_path, "jetson-nano", compare=section, export={"precision": "fp16", "batch": 2}
    )
    np.savez(made.samples, image=np.arange(4, dtype=np.float32)[:, None])
    assert Compare(made).run() == {
        "teacher_ms": None,
        "threads": 3,
        "engines": {"tvm": {"p50": 1.0, "p99": 2.0, "ci95": (1.0, 2.0)}},
        "left_out": {"torch": "no checkpoint"},
        "verdict": "tvm is fastest",
    }
    (call,) = compare.call_args_list
    ((spec,), onnx, samples) = call.args
    assert (spec.name, onnx) == ("onnxruntime", made.onnx)
    assert [sample["image"].ravel().tolist() for sample in samples] == [[0, 1], [2, 3]]
    assert call.kwargs["progress"] == "follow"
    assert call.kwargs["options"] == bench.CompareOptions(
        threads=5,
        seconds=0.5,
        rounds=4,
        processes=6,
        budget_ms=80.0,
        reference=made.full_precision,
    )
    result.save.assert_called_once_with(made.comparison)
    show.assert_called_once_with(result)
    assert Compare(made).outputs() == [made.comparison]


def test_a_target_without_a_budget_has_none(tmp_path: Path) -> None:
    made = context(tmp_path, "jetson-nano")
    assert Compare(made)._budget == 80.0, "the model's, not that of the whole"
    made.target.budget.clear()
    assert Compare(made)._budget is None


@pytest.mark.parametrize(("given", "asked"), [(0.5, 0.5), (1.0, 1.0), (1.5, 1.0)])
@pytest.mark.parametrize("measured", [True, False])
def test_the_teacher_is_timed_alone_in_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: float, asked: float, measured: bool
) -> None:
    result = Result(onnxruntime=(7.0, 9.0)) if measured else Result()
    compare = Mock(return_value=result)
    monkeypatch.setattr(bench, "compare", compare, raising=False)
    made = context(tmp_path, compare={"seconds": given, "threads": 2, "rounds": 8})
    made.teacher_onnx.write_text("teacher")
    assert Compare(made)._time_teacher() == (7.0 if measured else None)
    compare.assert_called_once_with(
        [EngineSpec("onnxruntime", "onnxruntime", made.teacher_onnx)],
        made.teacher_onnx,
        options=bench.CompareOptions(threads=2, seconds=asked, rounds=2, processes=1),
    )


@pytest.mark.parametrize(
    ("count", "batch", "samples"), [(6, 3, 2), (5, 3, 1), (2, 3, 0), (3, 3, 1), (2, 1, 2)]
)
def test_an_incomplete_batch_is_left_out(
    tmp_path: Path, count: int, batch: int, samples: int
) -> None:
    made = context(tmp_path, export={"batch": batch})
    np.savez(made.samples, image=np.zeros((count, 1, 2, 2), np.float32))
    found = Compare(made)._samples()
    assert [sample["image"].shape for sample in found] == [(batch, 1, 2, 2)] * samples


def test_objects_in_the_inputs_are_not_unpickled(tmp_path: Path) -> None:
    made = context(tmp_path)
    np.savez(made.samples, image=np.array([{"run": "code"}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        Compare(made)._samples()


def test_what_each_engine_runs_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler, the user's network and the code of an engine only where an engine uses them."""
    monkeypatch.setattr(RunContext, "compiler", property(lambda self: "compiler"))

    def read(*engines: str) -> dict[str, Any]:
        section = {"engines": list(engines)}
        return Compare(context(tmp_path, compare=section, student={"model": "mine:net"})).inputs()

    made = context(tmp_path)
    (tmp_path / "mine.py").write_text("net = None")
    for path in (made.onnx, made.student, made.samples):
        path.write_text(path.name)
    made.artifact.mkdir()
    (made.artifact / "model.so").write_text("library")
    found = read("onnxruntime", "tvm:relay")
    # The artifact is of the other stack.
    assert found["engines"] == [("onnxruntime", made.hash(made.onnx)), ("tvm:relay", None)]
    assert (found["compiler"], found["code"], found["engine_code"]) == (None, None, {})
    assert found["onnx"] == [[made.hash(made.onnx), None], [None, None]]
    assert found["samples"] == made.hash(made.samples) is not None
    found = read("torch")
    assert found["engines"] == [("torch", made.hash(made.student))]
    assert found["code"] == ["mine:net", made.source("mine:net")]
    assert found["code"][1] is not None
    assert found["compiler"] is None
    assert read("tvm")["engines"] == [("tvm", made.hash(made.artifact))]
    assert read("tvm")["compiler"] == read("tvm:untuned")["compiler"] == "compiler"
