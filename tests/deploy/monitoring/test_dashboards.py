"""The dashboard and the rules name metrics that the servers export, and parse."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.boards import telemetry
from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.boards.power import Rail
from tvmkd.deploy.monitoring import dashboards, servers

PROMTOOL = shutil.which("promtool")
promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool: apt-get install prometheus")
OWN = re.compile(r"\btvmkd_[a-z0-9_]+")
EVERYTHING = Telemetry(
    zones=(Zone("cpu", 41.5),),
    clocks=(Clock((0,), 900, 100, 1000),),
    governor="performance",
    gpu=Clock((), 76800, 76800, 921600),
    gpu_load=0.25,
    throttled_by=("tegra-cpu",),
    throttle_count=3,
    rails=(Rail("VDD_IN", 2.5),),
    watts=2.5,
    power_mode="MAXN",
    load_1min=0.5,
    memory_bytes=1000,
    memory_available_bytes=500,
)


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """The names of all samples of a server with a model, on a board that tells everything."""
    from prometheus_client import generate_latest

    from tvmkd.deploy.serving.metrics import Metrics
    from tvmkd.deploy.serving.statistics import Statistics

    statistics = Statistics()
    statistics.errors["late"] += 1
    process = SimpleNamespace(pid=1)
    pool = SimpleNamespace(
        waiting=[],
        ready_workers=1,
        ready=True,
        workers=[SimpleNamespace(process=process, number=0)],
    )
    manifest = SimpleNamespace(target={"name": "host"}, stack="relax", onnx_sha256="0", created="")
    served: Any = SimpleNamespace(
        name="student", version="1", statistics=statistics, pool=pool, manifest=manifest
    )
    repository: Any = SimpleNamespace(served=lambda: [served])
    metrics = Metrics()
    metrics.connections = lambda: 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "read", lambda: EVERYTHING)
        text = generate_latest(metrics.registry(repository)).decode()
    return {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}


def expressions(node: Any) -> Iterator[str]:
    """Every query of a dashboard."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "definition") and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dashboards.text("grafana.json"))
    return found


def test_every_metric_of_the_dashboard_is_exported(exported: set[str]) -> None:
    named = {name for text in expressions(dashboard()) for name in OWN.findall(text)}
    assert len(named) > 15
    assert named - exported == set()


def test_every_metric_of_the_rules_is_exported(exported: set[str]) -> None:
    named = set(OWN.findall(dashboards.text("rules.yml")))
    assert len(named) > 8
    assert named - exported == set()


def test_every_metric_of_board_top_is_exported(exported: set[str]) -> None:
    named = {
        value for value in vars(servers).values() if isinstance(value, str) and OWN.match(value)
    }
    assert len(named) > 15
    assert named - exported == set()


def test_the_static_server_exports_the_same() -> None:
    native = Path(dashboards.__file__).parent.parent / "native"
    if not (native / "board_metrics.c").is_file():
        pytest.skip("there is no static server here")
    code = "".join(path.read_text(encoding="utf-8") for path in native.glob("*.c"))
    texts = [*expressions(dashboard()), dashboards.text("rules.yml")]
    named = {name for text in texts for name in OWN.findall(text)}
    missing = set()
    for name in named:
        base = re.sub(r"_(bucket|sum|count|info|total)$", "", name)
        short = name.removeprefix("tvmkd_board_")
        if not (name in code or f'"{base}' in code or f'"{short}"' in code):
            missing.add(name)
    assert missing == set()


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(numbers) == len(set(numbers)) > 15
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        here = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not here & taken, panel["title"]
        taken |= here


def test_every_panel_reads_the_chosen_data_source_and_filters() -> None:
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert 'instance=~"$server"' in target["expr"], panel["title"]


def test_alerts_say_what_is_wrong_where() -> None:
    yaml = pytest.importorskip("yaml")
    rules = [
        rule
        for group in yaml.safe_load(dashboards.text("rules.yml"))["groups"]
        for rule in group["rules"]
    ]
    alerts = [rule for rule in rules if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) >= 8
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert "$labels.instance" in rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = set(re.findall(r"tvmkd:[a-z_:0-9]+", " ".join(rule["expr"] for rule in alerts)))
    assert used <= recorded


def test_they_are_written_for_the_user(tmp_path: Path) -> None:
    paths = dashboards.write(tmp_path / "new")
    assert [path.name for path in paths] == ["grafana.json", "rules.yml", "prometheus.yml"]
    assert json.loads(paths[0].read_text())["title"] == "tvmkd"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        dashboards.write(tmp_path / "file")


def test_a_full_disk_leaves_no_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="the disk is full"):
        dashboards.write(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def check(*arguments: object, cwd: Path) -> None:
    done = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_prometheus_takes_the_rules_and_the_example(tmp_path: Path) -> None:
    dashboards.write(tmp_path)
    check("check", "config", "prometheus.yml", cwd=tmp_path)


@promtool
def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [
        text.replace("$__rate_interval", "5m").replace("$server", ".*").replace("$model", ".*")
        for text in expressions(dashboard())
        if not text.startswith("label_values")
    ]
    rules = [{"record": f"a:b{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "q.json").write_text(json.dumps({"groups": [{"name": "q", "rules": rules}]}))
    check("check", "rules", "q.json", cwd=tmp_path)


@promtool
def test_the_alerts_go_off_when_they_should(tmp_path: Path) -> None:
    dashboards.write(tmp_path)
    where = Path(__file__).with_name("alerts.yml")
    (tmp_path / "alerts.yml").write_text(where.read_text())
    check("test", "rules", "alerts.yml", cwd=tmp_path)
