"""Views and metrics of a fleet, made up."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.deploy.monitoring.view import BoardRow, ModelRow, View

STATE = Telemetry(
    zones=(Zone("cpu", 71.4),),
    clocks=(Clock((0,), 921_600, 102_000, 1_479_000),),
    governor="schedutil",
    throttled_by=("thermal-cpufreq-0",),
    watts=2.34,
    power_mode="MAXN",
    load_1min=0.5,
    memory_available_bytes=2**31,
)
NANO = BoardRow("10.0.0.7:9090", "tracker nano", "free", model="Nano", version="0.1.0", state=STATE)
GONE = BoardRow("me@gone", "ssh", "down", "No route to host")
STUDENT = ModelRow(
    "http://10.0.0.7:8000", "student", "2", True, 31.4, 1.94, 8.46, 12, 3, 2, 0, 1, 1
)
DEAD = ModelRow("http://10.0.0.8:8000", why="Connection refused")
VIEW = View(1_795_935_235.0, (NANO, GONE), (STUDENT, DEAD))

BUCKET = 'tvmkd_inference_duration_seconds_bucket{model="student",stage="total",version="2",'
METRICS = """\
# HELP tvmkd_server_info The server.
# TYPE tvmkd_server_info gauge
tvmkd_server_info{version="0.1.0"} 1.0
# TYPE tvmkd_model_ready gauge
tvmkd_model_ready{model="student",version="2"} 1.0
# TYPE tvmkd_inference_requests_total counter
tvmkd_inference_requests_total{model="student",version="2"} %(requests)d
# TYPE tvmkd_inference_deadline_misses_total counter
tvmkd_inference_deadline_misses_total{model="student",version="2"} %(misses)d
# TYPE tvmkd_inference_errors_total counter
tvmkd_inference_errors_total{model="student",version="2",kind="late"} 2
tvmkd_inference_errors_total{model="student",version="2",kind="crash"} 1
tvmkd_inference_errors_total{model="",version="",kind="not_found"} 50
# TYPE tvmkd_inference_queue_length gauge
tvmkd_inference_queue_length{model="student",version="2"} 4
# TYPE tvmkd_instances gauge
tvmkd_instances{model="student",version="2"} 2
# TYPE tvmkd_inference_duration_seconds histogram
%(bucket)sle="0.001"} %(fast)d
%(bucket)sle="0.01"} %(requests)d
%(bucket)sle="+Inf"} %(requests)d
tvmkd_inference_duration_seconds_bucket{model="student",stage="compute",version="2",le="+Inf"} 7
# TYPE tvmkd_board_temperature_celsius gauge
tvmkd_board_temperature_celsius{zone="CPU-therm"} 61.5
# TYPE tvmkd_board_cpu_clock_hertz gauge
tvmkd_board_cpu_clock_hertz{cpu="0"} 1.479e+09
# TYPE tvmkd_board_cpu_clock_max_hertz gauge
tvmkd_board_cpu_clock_max_hertz{cpu="0"} 1.479e+09
# TYPE tvmkd_board_is_throttled gauge
tvmkd_board_is_throttled 0.0
# TYPE tvmkd_board_total_power_watts gauge
tvmkd_board_total_power_watts 2.5
# TYPE tvmkd_board_power_mode_info gauge
tvmkd_board_power_mode_info{mode="MAXN"} 1.0
"""


def metrics(requests: int = 100, fast: int = 90, misses: int = 5) -> str:
    return METRICS % {"bucket": BUCKET, "requests": requests, "fast": fast, "misses": misses}


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server on the loopback address; yields its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sends(handler: http.server.BaseHTTPRequestHandler, text: str, status: int = 200) -> None:
    """Answers with a text."""
    body = text.encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
