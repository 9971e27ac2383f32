from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tvmkd.search.latency.composition import COVERAGE, FEW, Timed, fit
from tvmkd.search.latency.prediction import Kernel, KernelTime

FIXED, CALL = 4e-6, 2e-7
FACTORS = {"conv2d": 1.6, "depthwise": 0.8}


class World:
    """Kernels whose time in a network is not their time alone, and networks of them."""

    def __init__(self, deviation: float = 0.03, noise: float = 0.005) -> None:
        self.rng = np.random.default_rng(0)
        self.noise = noise
        self.alone, self.inside = list[KernelTime](), list[float]()
        for number in range(60):
            kind = ("conv2d", "depthwise")[number % 2]
            seconds = float(np.exp(self.rng.uniform(np.log(2e-7), np.log(5e-5))))
            kernel = Kernel(f"{number:#x}", f"k{number}", kind, 1, 1e6)
            self.alone.append(KernelTime(kernel, seconds, "measured"))
            factor = FACTORS[kind] * (1 + self.rng.normal(0, deviation))
            self.inside.append(seconds * factor)

    def networks(self, count: int) -> list[Timed]:
        found = []
        for _ in range(count):
            chosen = self.rng.choice(60, int(self.rng.integers(8, 30)), replace=False)
            true = FIXED + sum(self.inside[i] + CALL for i in chosen)
            measured = true * (1 + self.rng.normal(0, self.noise))
            found.append(Timed([self.alone[i] for i in chosen], measured))
        return found


def errors(fitted: object, networks: list[Timed]) -> np.ndarray:
    predict = fitted.predict  # type: ignore[attr-defined]
    return np.array([predict(net.kernels).seconds / net.seconds - 1 for net in networks])


def test_networks_say_what_kernels_cost_inside_of_one() -> None:
    world = World()
    fitted, others = fit(world.networks(30)), world.networks(60)
    before, after = errors(fit([]), others), errors(fitted, others)
    assert np.median(np.abs(before)) > 0.06
    assert np.quantile(np.abs(after), 0.95) < 0.05
    assert fitted.mean[0] == pytest.approx(1.6, rel=0.05)
    assert fitted.mean[1] == pytest.approx(0.8, rel=0.05)


def test_the_interval_holds_what_it_says() -> None:
    world = World(deviation=0.1, noise=0.02)
    fitted, others = fit(world.networks(40)), world.networks(300)
    predictions = [fitted.predict(net.kernels) for net in others]
    held = np.mean([p.low <= n.seconds <= p.high for p, n in zip(predictions, others, strict=True)])
    assert COVERAGE - 0.07 <= held <= 0.99
    assert np.median([p.high / p.low for p in predictions]) < 1.3


def test_left_out_networks_are_as_far_off_as_new_ones() -> None:
    world = World(deviation=0.1, noise=0.02)
    fitted = fit(world.networks(40))
    new = np.median(np.abs(errors(fitted, world.networks(200))))
    assert np.median(np.abs(fitted.left_out - 1)) == pytest.approx(new, rel=0.5)
    facts = fitted.describe()
    assert facts["networks"] == 40
    assert facts["within_10_percent"] >= facts["within_5_percent"] > 0.5


def test_times_in_doubt_neither_decide_nor_judge() -> None:
    world = World()
    networks, others = world.networks(30), world.networks(60)
    # A third were timed while the machine was disturbed, and corrected by too much.
    spoilt = [
        replace(net, seconds=0.5 * net.seconds, doubt=0.4) if place % 3 == 0 else net
        for place, net in enumerate(networks)
    ]
    trusting = fit([replace(net, doubt=0.0) for net in spoilt])
    careful = fit(spoilt)
    assert np.median(np.abs(errors(trusting, others))) > 0.05
    assert np.median(np.abs(errors(careful, others))) < 0.02
    facts = careful.describe()
    assert (facts["networks"], facts["judged_by"]) == (30, 20)
    assert facts["within_10_percent"] > 0.9
    # Where all are in doubt they are all there is.
    assert fit([replace(net, doubt=0.4) for net in networks]).describe()["judged_by"] == 30


def test_one_network_cannot_be_left_out() -> None:
    facts = fit(World().networks(1)).describe()
    assert (facts["networks"], facts["median_error"]) == (1, None)


def test_the_parts_add_up() -> None:
    world = World()
    found = fit(world.networks(20)).predict(world.networks(1)[0].kernels)
    inside = sum(each.seconds * each.kernel.calls for each in found.kernels)
    assert inside + found.fixed == pytest.approx(found.seconds)
    times = [each.seconds for each in found.kernels]
    assert times == sorted(times, reverse=True)


def test_few_networks_leave_the_interval_wide() -> None:
    world = World()
    other = world.networks(1)[0].kernels
    widths = [
        np.log(p.high / p.low)
        for p in (fit(world.networks(count)).predict(other) for count in (0, FEW - 1, 30))
    ]
    assert widths[0] > widths[1] > widths[2]


def test_without_networks_the_interval_does_not_depend_on_how_fast_they_are() -> None:
    kernels, fitted = World().alone[:20], fit([])
    widths = []
    for factor in (1e-2, 1.0, 1e3):
        scaled = [replace(each, seconds=factor * each.seconds) for each in kernels]
        found = fitted.predict(scaled)
        widths.append(found.high / found.low)
    assert max(widths) == pytest.approx(min(widths))
    assert 3 < widths[0] < 30


def test_an_interpolated_kernel_widens_the_interval() -> None:
    world = World()
    fitted, kernels = fit(world.networks(30)), list(world.alone[:10])
    guessed = KernelTime(Kernel("0xabc", "g", "conv2d", 1, 1.0), 5e-5, "interpolated", 0.5)
    known = KernelTime(Kernel("0xabc", "g", "conv2d", 1, 1.0), 5e-5, "measured", 0.0)
    wide, narrow = (fitted.predict([*kernels, each]) for each in (guessed, known))
    assert wide.seconds == pytest.approx(narrow.seconds)
    assert wide.high / wide.low > narrow.high / narrow.low


def test_an_interpolation_that_was_wrong_does_not_spoil_the_kernel_once_it_is_measured() -> None:
    world = World(noise=0.0)
    networks, new = world.networks(30), Kernel("0xabc", "g", "conv2d", 1, 1.0)
    guess, alone = KernelTime(new, 2e-5, "interpolated", 0.7), KernelTime(new, 5e-5, "measured")
    with_guess = [
        Timed([*net.kernels, guess], net.seconds + FACTORS["conv2d"] * 5e-5 + CALL)
        for net in networks[:6]
    ]
    fitted = fit([*with_guess, *networks[6:]])
    rest = networks[0].seconds
    truth = rest + FACTORS["conv2d"] * 5e-5 + CALL
    for known in (guess, alone):
        found = fitted.predict([*networks[0].kernels, known])
        assert found.seconds == pytest.approx(truth, rel=0.08), known.source


def test_counts_of_instructions_just_add_up() -> None:
    world = World(deviation=0.0, noise=0.0)
    networks = [
        Timed(net.kernels, 1e-6 + sum(each.seconds for each in net.kernels))
        for net in world.networks(12)
    ]
    fitted, others = fit(networks[:8], exact=True), networks[8:]
    assert np.max(np.abs(errors(fitted, others))) < 0.02


def test_a_kind_that_no_network_had_is_predicted_too() -> None:
    fitted = fit(World().networks(20))
    kernel = KernelTime(Kernel("0xfff", "d", "dense", 3, 1.0), 1e-5, "measured")
    assert fitted.predict([kernel]).seconds == pytest.approx(3.3e-5 + FIXED + 3 * CALL, rel=0.35)
