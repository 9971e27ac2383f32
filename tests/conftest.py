"""Settings that every test needs."""

from __future__ import annotations

import signal

# A shell starts its background jobs with SIGINT ignored, and children inherit that: without this
# the tests that send Ctrl-C would wait for ever where the test run itself is such a job.
signal.signal(signal.SIGINT, signal.default_int_handler)
