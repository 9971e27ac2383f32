from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toys

from tvmkd import artifact, targets
from tvmkd.base.errors import InputError
from tvmkd.bench.engines.tvm_artifact import spent
from tvmkd.bench.process import EngineProcess
from tvmkd.bench.spec import EngineSpec

NAMES = ["x", "y"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of (x + y, x * y)."""
    folder = tmp_path_factory.mktemp("artifact")
    specs = [{"name": name, "shape": [1, 4], "dtype": "float32"} for name in NAMES]
    artifact.write(
        folder / "toy",
        {"model.so": toys.library(folder / "model.so")},
        name="toy",
        target=targets.load("host").to_dict(),
        stack="relax",
        stack_version="0.27.0",
        onnx_sha256="0" * 64,
        inputs=specs,
        outputs=specs,
    )
    return folder / "toy"


def test_an_artifact_runs_in_its_process_without_torch(made: Path, tmp_path: Path) -> None:
    x, y = np.arange(4, dtype=np.float32)[None], np.full((1, 4), 3, np.float32)
    sample = tmp_path / "000.npz"
    np.savez(sample, x, y)
    with EngineProcess(EngineSpec("tvm", "tvm", made), 1, []) as process:
        loaded, ((total, product),) = process.prepare(
            [sample], NAMES, tmp_path / "out", timeout=120
        )
        np.testing.assert_array_equal(total, x + y)
        np.testing.assert_array_equal(product, x * y)
        assert loaded.size_bytes == sum(path.stat().st_size for path in made.iterdir())
        assert len(process.time(20, limit_s=60)) == 20
        facts = process.facts()
        assert facts["target"] == targets.load("host").name
        # torch alone would be 500 MB.
        assert facts["peak_rss_bytes"] < 450e6


def test_a_damaged_artifact_says_so(made: Path, tmp_path: Path) -> None:
    sample = tmp_path / "000.npz"
    np.savez(sample, *[np.zeros((1, 4), np.float32)] * 2)
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in made.iterdir():
        (broken / path.name).write_bytes(path.read_bytes()[:-1])
    with (
        EngineProcess(EngineSpec("tvm", "tvm", broken), 1, []) as process,
        pytest.raises(InputError, match="broken"),
    ):
        process.prepare([sample], NAMES, tmp_path / "out", timeout=120)


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        ([{"used": 3, "trial_seconds": 60.5}, {"used": 0, "trial_seconds": 9.0}], 60.5),
        ([{"used": 3, "trial_seconds": 60.5}, {"used": 1, "trial_seconds": 1.5}], 62.0),
        ([{"used": 3, "trial_seconds": 60.5}, {"used": 1, "trial_seconds": None}], None),
        ([{"used": 3}], None),
        ([], None),
    ],
)
def test_what_was_spent_is_that_of_the_records_in_use(
    made: Path, records: list[dict[str, float]], seconds: float | None
) -> None:
    manifest = artifact.read(made)
    update = {"records": records, "coverage": {"build_seconds": 4.5}}
    found = spent(manifest.model_copy(update=update))
    assert found == {"engine_build_seconds": 4.5, "tuning_seconds": seconds}
    assert spent(manifest)["engine_build_seconds"] is None
