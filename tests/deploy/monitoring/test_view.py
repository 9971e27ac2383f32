from __future__ import annotations

import json

from fleets import VIEW


def test_json() -> None:
    data = json.loads(json.dumps(VIEW.to_dict()))
    assert [row["name"] for row in data["boards"]] == ["10.0.0.7:9090", "me@gone"]
    assert data["boards"][0]["state"]["celsius"] == 71.4
    assert data["boards"][1]["state"] is None
    assert data["models"][0]["p99_ms"] == 8.46
