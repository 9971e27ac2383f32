"""The C runtime's early exits, on a model of three parts whose kernels are written by hand."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import TvmkdError
from tvmkd.base.exits import FEATURES, Rule, confident, features, score
from tvmkd.base.toolchain import zig
from tvmkd.runtime.standalone_program import (
    NATIVE,
    NO_DEADLINE,
    Late,
    StandaloneProgram,
    describe,
)
from tvmkd.stacks.standalone.library import RUNTIME

# Each part adds a row of x to the logits; part p sleeps so many microseconds.
MODEL = """
#include <time.h>
#include "runtime.h"
#define CLASSES 5
__attribute__((visibility("default"))) int64_t sleep_us[3], failing = -1;
static int32_t part(const tvmkd_argument *a, int number) {
  if (failing == number) return 1;
  if (sleep_us[number]) {
    struct timespec time = {sleep_us[number] / 1000000, sleep_us[number] % 1000000 * 1000};
    nanosleep(&time, NULL);
  }
  const float *x = a[0].tensor->data;
  float *y = a[1].tensor->data;
  for (int each = 0; each < CLASSES; each++) y[each] = x[number * CLASSES + each];
  return 0;
}
static int32_t part_0(const tvmkd_argument *a) { return part(a, 0); }
static int32_t part_1(const tvmkd_argument *a) { return part(a, 1); }
static int32_t part_2(const tvmkd_argument *a) { return part(a, 2); }
static int32_t (*const parts[])(const tvmkd_argument *) = {part_0, part_1, part_2};
static const int64_t sizes[] = {3, CLASSES, CLASSES, 1, 1, CLASSES};
static const tvmkd_place places[] = {
  {sizes, sizes + 2, 0, IN_INPUT, 2, 32, 2}, {sizes + 4, sizes + 2, 0, IN_OUTPUT, 2, 32, 2}};
static const uint16_t arguments[] = {0, 1};
static const char *const kernels[] = {"by_hand"};
static const uint32_t features[] = {0};
static const double thresholds[] = {0.9, 0.8};
static const tvmkd_tensor inputs[] = {{"x", "float32", sizes, 2, 3 * CLASSES * 4}};
static const tvmkd_tensor outputs[] = {{"logits", "float32", sizes + 4, 2, CLASSES * 4}};
static const tvmkd_graph graph;
static tvmkd_status open_it(const tvmkd_options *options, tvmkd_instance **instance) {
  return tvmkd_rt_open(&graph, options, instance);
}
static tvmkd_library library = {
  .size = sizeof(tvmkd_library), .api_version = TVMKD_API_VERSION, .name = "parts",
  .target = "here", .built_by = "a test", .digest = "", .inputs = inputs, .outputs = outputs,
  .input_count = 1, .output_count = 1, .exit_count = 3, .open = open_it, .run = tvmkd_rt_run,
  .run_until = tvmkd_rt_run_until, .last_error = tvmkd_rt_last_error, .close = tvmkd_rt_close,
  .thresholds = thresholds, .run_exit = tvmkd_rt_run_exit};
static const tvmkd_graph graph = {
  .library = &library, .places = places, .arguments = arguments, .kernels = kernels,
  .place_count = 2, .argument_count = 2, .threads = 1, .features = features, .parts = parts};
__attribute__((visibility("default")))
const tvmkd_library *tvmkd_library_v1(void) { return &library; }
__attribute__((visibility("default")))
int confident(const float *logits, uint64_t count, double temperature, double threshold) {
  return tvmkd_rt_confident(logits, count, temperature, threshold);
}
__attribute__((visibility("default")))
void set_rule(const double *own_thresholds, const double *temperatures, const double *weights) {
  library.thresholds = own_thresholds ? own_thresholds : thresholds;
  library.temperatures = temperatures;
  library.exit_weights = weights;
}
/* The exit at which rows of logits leave, and the scores on the way. */
__attribute__((visibility("default")))
int taken(int exits, const double *own_thresholds, const double *temperatures,
          const double *weights, const float *logits, uint64_t count, double *scores) {
  tvmkd_part parts[8] = {0};
  tvmkd_library own = {.exit_count = exits, .thresholds = own_thresholds,
                       .temperatures = temperatures, .exit_weights = weights};
  for (int32_t exit = 0; exit + 1 < exits; exit++) {
    int64_t chosen;
    scores[exit] = tvmkd_rt_score(logits + exit * count, count, temperatures[exit],
                                  weights + exit * TVMKD_EXIT_FEATURES, parts, exit, &chosen);
    if (tvmkd_rt_leaves(&own, parts, exit, logits + exit * count, count)) return exit;
    if (parts[exit].chosen != chosen) return -1;
  }
  return exits - 1;
}
"""
MS = 1_000_000  # nanoseconds
SPECS: Any = [SimpleNamespace(name="x", shape=(3, 5), dtype="float32")]
ZERO = np.zeros((3, 5), np.float32)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    (folder / "model.c").write_text(MODEL)
    sources = [
        folder / "model.c",
        *(NATIVE / f"{n}.c" for n in RUNTIME),
    ]
    command = [*zig(), "cc", "-shared", "-fPIC", "-O2", "-std=gnu11", "-fvisibility=hidden"]
    command += [f"-I{NATIVE}", "-Wall", "-Wextra", "-Werror", "-o", os.fspath(folder / "parts.so")]
    subprocess.run([*command, *map(os.fspath, sources), "-lm", "-lpthread"], check=True)
    return folder / "parts.so"


class Model(StandaloneProgram):
    """An instance whose parts can be made slow."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SPECS)
        shared = ctypes.CDLL(os.fspath(path))
        self.sleep_us = (ctypes.c_int64 * 3).in_dll(shared, "sleep_us")
        self.failing = ctypes.c_int64.in_dll(shared, "failing")

    def within(self, ms: float, x: np.ndarray = ZERO) -> int:
        """The exit that is taken with a deadline in so many milliseconds."""
        return self.run_until([x], time.monotonic_ns() + int(ms * MS))[1]


@pytest.fixture
def model(library: Path) -> Iterator[Model]:
    made = Model(library)
    yield made
    made.sleep_us[:] = [0, 0, 0]
    made.failing.value = -1


def sure_at(part: int) -> np.ndarray:
    x = ZERO.copy()
    x[part, 2] = 9
    return x


def test_it_describes_its_exits(model: Model, library: Path) -> None:
    assert (model.exits, model.rule) == (3, Rule((0.9, 0.8)))
    assert describe(library).exit_count == 3


def test_it_leaves_where_it_is_sure(model: Model) -> None:
    for part in range(3):
        x = sure_at(part)
        (logits,), taken = model.run_until([x], NO_DEADLINE)
        assert taken == part
        assert np.array_equal(logits[0], x[part])
        assert np.array_equal(model.run([x])[0], logits)
        for each in range(3):
            assert np.array_equal(model.run_exit([x], each)[0][0], x[each])


def test_the_rule_is_pythons(model: Model, library: Path) -> None:
    generator = np.random.default_rng(0)
    for scale in generator.uniform(0, 12, 300):
        x = (generator.standard_normal((3, 5)) * scale).astype(np.float32)
        assert model.run_until([x], NO_DEADLINE)[1] == model.rule.taken(list(x))
    decide = ctypes.CDLL(os.fspath(library)).confident
    decide.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_double, ctypes.c_double]
    inf, nan = np.inf, np.nan
    for row in ([nan, 0], [0, nan], [inf, 0], [-inf, 0], [-inf, -inf], [1e38, -1e38], [0], [3, 3]):
        for threshold in (0.0, 0.5, 1.0, np.nextafter(1, 2), 2.0):
            logits = np.array(row, np.float32)
            for temperature in (1.0, 0.5, 3.0):
                given = decide(logits.ctypes.data, len(logits), temperature, threshold)
                wanted = confident(logits, threshold, temperature)
                assert bool(given) == wanted, (row, threshold, temperature)


def numbers(values: Any) -> Any:
    flat = np.asarray(values, np.float64).ravel()
    return (ctypes.c_double * len(flat))(*flat)


def random_rule(generator: np.random.Generator, exits: int) -> Rule:
    weights = generator.dirichlet(np.full(len(FEATURES), 0.7), exits - 1)
    thresholds = generator.uniform(0.2, 1.0, exits - 1)
    thresholds[generator.random(exits - 1) < 0.1] = 2.0
    temperatures = np.exp(generator.uniform(-2, 2, exits))
    rows = tuple(tuple(map(float, row)) for row in weights)
    return Rule(tuple(map(float, thresholds)), tuple(map(float, temperatures)), rows)


def test_scores_and_decisions_are_pythons(library: Path) -> None:
    """Random logits, also infinite, equal and NaN; random temperatures, weights and exits."""
    taken = ctypes.CDLL(os.fspath(library)).taken
    generator = np.random.default_rng(1)
    left = []
    for number in range(1500):
        exits, classes = int(generator.integers(2, 6)), int(generator.integers(1, 12))
        rule = random_rule(generator, exits)
        logits = generator.standard_normal((exits, classes)) * np.exp(generator.uniform(-2, 4))
        if number % 3 == 0:
            logits = logits.round()  # ties
        if number % 5 == 0:
            odd = np.array([np.nan, np.inf, -np.inf, 1e38])
            logits[generator.integers(exits), generator.integers(classes)] = generator.choice(odd)
        rows = logits.astype(np.float32)
        own = (ctypes.c_double * exits)()
        wanted = rule.taken(list(rows))
        got = taken(
            exits, numbers(rule.thresholds), numbers(rule.temperatures), numbers(rule.weights),
            ctypes.c_void_p(rows.ctypes.data), ctypes.c_uint64(classes), own,
        )  # fmt: skip
        assert got == wanted, (number, rule, rows)
        guesses: list[np.ndarray] = []
        for index in range(min(wanted + 1, exits - 1)):
            found, chosen = features(rows[index : index + 1], rule.temperatures[index], guesses)
            guesses.append(chosen)
            expected = score(found, rule.weights[index])[0]
            np.testing.assert_allclose(own[index], expected, rtol=0, atol=1e-13, equal_nan=True)
        left.append(wanted)
    assert set(left) == {0, 1, 2, 3, 4}


def test_a_library_follows_its_temperatures_and_weights(model: Model, library: Path) -> None:
    generator = np.random.default_rng(2)
    set_rule = ctypes.CDLL(os.fspath(library)).set_rule
    left = set()
    try:
        for number in range(60):
            rule = random_rule(generator, 3)
            kept = [numbers(each) for each in (rule.thresholds, rule.temperatures, rule.weights)]
            if number % 2:  # temperatures alone
                rule, kept[2] = Rule(rule.thresholds, rule.temperatures), None
            set_rule(*kept)
            assert describe(library).rule == rule
            for scale in (1, 3, 9):
                x = (generator.standard_normal((3, 5)) * scale).astype(np.float32)
                (logits,), taken = model.run_until([x], NO_DEADLINE)
                assert taken == rule.taken(list(x))
                assert np.array_equal(model.run([x])[0], logits)
                left.add(taken)
    finally:
        set_rule(None, None, None)
    assert left == {0, 1, 2}


def test_an_older_library_has_no_temperatures(library: Path) -> None:
    """Where `size` ends before a member, what lies there is not read."""
    older = type(describe(library)).from_buffer_copy(describe(library))
    older.temperatures = older.exit_weights = older.thresholds
    assert older.rule.temperatures
    older.size = type(older).temperatures.offset
    assert older.rule == Rule((0.9, 0.8))


def test_a_part_that_would_be_late_is_left_out(model: Model) -> None:
    model.sleep_us[2] = 300_000
    assert model.within(5000) == 2, "nothing is known of the part, so it is run"
    assert model.within(150) == 1
    assert model.within(5000) == 2
    model.sleep_us[:] = [0, 400_000, 0]
    assert model.within(5000) == 2
    assert model.within(150) == 0
    assert model.run_until([ZERO], NO_DEADLINE)[1] == 2, "no deadline"
    assert model.within(150, sure_at(0)) == 0


def test_late(model: Model) -> None:
    with pytest.raises(Late, match="run_until: the first exit would be late"):
        model.within(-1)
    for deadline in (-(2**63), 0):
        with pytest.raises(Late):
            model.run_until([ZERO], deadline)
    model.sleep_us[0] = 200_000
    assert model.within(5000) == 2
    begin = time.monotonic()
    with pytest.raises(Late):
        model.within(100)
    assert time.monotonic() - begin < 0.1, "it is told before the run"
    assert model.run_until([ZERO], NO_DEADLINE)[1] == 2


def test_a_part_that_was_slow_once_is_tried_again(model: Model) -> None:
    model.sleep_us[2] = 400_000
    assert model.within(5000) == 2
    model.sleep_us[2] = 0
    assert [model.within(200) for _ in range(34)] == [1] * 32 + [2, 2]
    # A try that is late doubles the wait.
    model.sleep_us[2] = 400_000
    assert model.within(5000) == 2
    assert [model.within(200) for _ in range(33)] == [1] * 32 + [2]
    model.sleep_us[2] = 0
    assert [model.within(200) for _ in range(66)] == [1] * 64 + [2, 2]


def test_the_first_part_is_tried_again_too(model: Model) -> None:
    model.sleep_us[0] = 400_000
    assert model.within(5000) == 2
    model.sleep_us[0] = 0
    late = 0
    for _ in range(33):
        try:
            model.within(200)
        except Late:
            late += 1
    assert late == 32
    assert model.within(200) == 2


def test_errors(model: Model) -> None:
    for index in (-1, 3):
        with pytest.raises(TvmkdError, match="run_exit: there is no such exit"):
            model.run_exit([ZERO], index)
    model.failing.value = 1
    with pytest.raises(TvmkdError, match="kernel by_hand: it failed"):
        model.run_until([ZERO], NO_DEADLINE)
    with pytest.raises(TvmkdError, match="kernel by_hand"):
        model.run_exit([ZERO], 2)
    assert model.run_until([sure_at(0)], NO_DEADLINE)[1] == 0


def test_runs_take_no_memory(model: Model) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    given = (model._inputs.address, model._outputs.address)
    instance, taken = model._instance, ctypes.c_int32()

    def turns(count: int) -> None:
        for _ in range(count):
            until = time.monotonic_ns() + MS
            assert model._library.run_until(instance, *given, until, ctypes.byref(taken)) in (0, 5)
            assert model._library.run_exit(instance, *given, 1) == 0

    turns(100)
    before = resident()
    turns(20_000)
    assert resident() - before < 200_000
