#!/usr/bin/env python
"""Learning a classifier's last layer on a board: what is gained, what is forgotten, what it costs.

    python benchmarks/bench_continual.py --json /tmp/continual.json
    python benchmarks/bench_continual.py --seeds 1 --epochs 10 --skip qemu

The embedded digits, in two lessons that arrive after the network was trained:

- ``classes``: the network was trained with 0 to 7; 8 and 9 come on the board.
- ``camera``: it was trained with clean images of all digits; photographs of them come (the
  simulated camera at severity 5).

A network (depthwise, 64 features) is trained for each seed with 500 images; 200 are held back; 256
photographs or 128 images of the new classes are learned in two updates; the rest is for tests. Each
way of learning gets the same features:

- ``ours``: replay and the old head's soft targets, as `tvmkd deploy learn` sets it up
- ``naive``: the new examples alone
- ``LwF``: the new examples and the soft targets, without replay
- ``replay``: without soft targets
- ``joint``: a logistic regression of all old and new images at once, which no board has: the bound

The first network is compiled to a standalone library for this machine and for a Jetson Nano,
and ``continual_board.c`` learns with both: here, and under QEMU, whose times are not a board's.

And 100 old images come with wrong labels, in two updates, which has to be noticed; once more with
``max_contradiction`` 1, so that only the held-back images can tell (no bar).

The bars: ours keeps at least 0.9 of the joint bound's accuracy on new data, and forgets at most a
quarter of what the naive way forgets; the compiled C learns what numpy does, to 0.01 in accuracy.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from _common import Result, finish, parser
from torch import Tensor

from tvmkd import export, targets
from tvmkd.base.onnx_runtime import open_session
from tvmkd.base.toolchain import zig
from tvmkd.boards import emulate
from tvmkd.data import camera
from tvmkd.data.digits import MEAN, STD
from tvmkd.deploy import learn_head, learner_library
from tvmkd.deploy.board_learner.learner import Learner
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.stacks.compile import build

PROGRAM = Path(__file__).with_name("continual_board.c")
NET = {"stem": 16, "blocks": [[32, 2], [64, 2], [64, 1]]}
SIZE, SEVERITY, MOST = 28, 5, 256
LESSONS = ("classes", "camera")
# Two classes more take a few old examples with them, whatever learns them.
FORGETTING = {"classes": 0.1, "camera": 0.05}
WAYS: dict[str, tuple[str, dict[str, float]]] = {
    "ours": ("head", {}),
    "naive": ("bare", {"distillation": 0.0, "max_forgetting": 1.0}),
    "LwF": ("bare", {"max_forgetting": 1.0}),
    "replay": ("head", {"distillation": 0.0, "max_forgetting": 1.0}),
}
Some = tuple[np.ndarray, np.ndarray]


@dataclass
class Data:
    """Images (normalised, float32) and labels: to train, held back, to learn, to test."""

    classes: int
    train: Some
    held: Some
    lesson: Some
    old_test: Some
    new_test: Some


def digits(lesson: str, seed: int) -> Data:
    """The data of one seed."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    pixels = torch.from_numpy(np.float32(raw.images))[:, None] / 16
    images = F.interpolate(pixels, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    order = np.random.default_rng(seed).permutation(len(raw.target))
    labels = raw.target[order].astype(np.int64)
    images = images[torch.from_numpy(order)]
    parts = [slice(0, 500), slice(500, 700), slice(700, 1000), slice(1000, None)]
    photographs = images
    if lesson == "camera":
        photographs = camera.corrupt(images.clamp(0, 1), SEVERITY, seed=seed)

    def some(part: slice, new: bool) -> Some:
        keep = slice(None)
        if lesson == "classes":
            keep = (labels[part] >= 8) == new
        source = photographs if new and lesson == "camera" else images
        return ((source[part].numpy() - MEAN) / STD)[keep].astype(np.float32), labels[part][keep]

    train, held, old_test = (some(parts[at], False) for at in (0, 1, 3))
    if lesson == "classes":  # a fifth of the images: those that no training saw are shared out
        rows, numbers = some(slice(0, None), True)
        count = MOST // 2
        return Data(8, train, held, (rows[:count], numbers[:count]), old_test,
                    (rows[count:], numbers[count:]))  # fmt: skip
    rows, numbers = some(parts[2], True)
    return Data(10, train, held, (rows[:MOST], numbers[:MOST]), old_test, some(parts[3], True))


def trained(data: Data, seed: int, epochs: int) -> DepthwiseNet:
    """A network that knows the old data."""
    torch.manual_seed(seed)
    net = DepthwiseNet(classes=data.classes, **NET)  # type: ignore[arg-type]
    images, labels = torch.from_numpy(data.train[0]), torch.from_numpy(data.train[1])
    batches = len(images) // 32
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * batches)
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for batch in order[: batches * 32].view(batches, 32):
            loss = F.cross_entropy(net(turned(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def turned(images: Tensor) -> Tensor:
    """Images that are turned and moved a little."""
    angle, shift = (torch.rand(len(images)) - 0.5) * 0.4, (torch.rand(len(images), 2) - 0.5) * 0.2
    rows = [torch.stack([angle.cos(), -angle.sin(), shift[:, 0]], 1)]
    rows.append(torch.stack([angle.sin(), angle.cos(), shift[:, 1]], 1))
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def features(onnx: Path, images: np.ndarray) -> np.ndarray:
    """What the cut network says of images: ``[n, features]``."""
    session = open_session(onnx, threads=1)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[1] for image in images])


def accuracy(learner: Learner, rows: np.ndarray, labels: np.ndarray) -> float:
    """0 to 1."""
    return float((learner.predict(rows).argmax(axis=1) == labels).mean())


def played(
    path: Path, options: dict[str, float], lesson: Some, tests: list[Some]
) -> dict[str, Any]:
    """Learns a lesson in two updates."""
    learner = Learner(str(path), **options)
    every, seconds, longest = len(lesson[1]) // 2, 0.0, 0.0
    phases = []
    for number, (row, label) in enumerate(zip(*lesson, strict=True), 1):
        learner.add(row, int(label))
        if number % every:
            continue
        begun = time.perf_counter()
        learner.begin()
        while True:
            start = time.perf_counter()
            phase = learner.step()
            longest = max(longest, time.perf_counter() - start)
            if phase not in ("training", "checking"):
                break
        seconds += time.perf_counter() - begun
        phases.append(phase)
    old, new = (accuracy(learner, *test) for test in tests)
    return {"old": old, "new": new, "phases": phases, "reason": learner.reason,
            "update_s": seconds / 2, "longest_step_ms": 1e3 * longest,
            "learner_bytes": learner.bytes}  # fmt: skip


def joint(parts: list[Some], tests: list[Some]) -> dict[str, Any]:
    """A logistic regression of everything."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(*(np.concatenate([part[at] for part in parts]) for at in (0, 1)))
    old, new = (float(model.score(*test)) for test in tests)
    return {"old": old, "new": new}


def prepared(lesson: str, seed: int, epochs: int, work: Path) -> tuple[Data, Path]:
    """The data, and a folder with ``head/`` and ``bare/`` (without replay)."""
    data = digits(lesson, seed)
    folder = work / f"{lesson}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if all((folder / name / learn_head.HEAD).exists() for name in ("head", "bare")):
        return data, folder
    net = trained(data, seed, epochs)
    onnx = export.export(net, folder / "net.onnx", [1, 1, SIZE, SIZE])
    for name, replay in (("head", learn_head.REPLAY), ("bare", 0)):
        learn_head.make(
            onnx,
            folder / name,
            *({"image": images, "labels": labels} for images, labels in (data.train, data.held)),
            max_classes=12,
            replay=replay,
            seed=seed,
        )
    return data, folder


def seed_rows(lesson: str, seed: int, epochs: int, work: Path) -> dict[str, Any]:
    """Everything that is learned of one seed."""
    data, folder = prepared(lesson, seed, epochs, work)
    if (folder / "rows.json").exists():
        known: dict[str, Any] = json.loads((folder / "rows.json").read_text())
        return known
    onnx = folder / "head/net.onnx"
    made = {name: (features(onnx, getattr(data, name)[0]), getattr(data, name)[1])
            for name in ("train", "lesson", "old_test", "new_test")}  # fmt: skip
    tests = [made["old_test"], made["new_test"]]
    shipped = Learner(str(folder / "head/head.bin"))
    found: dict[str, Any] = {
        "shipped": {"old": accuracy(shipped, *tests[0]), "new": accuracy(shipped, *tests[1])}
    }
    for way, (name, options) in WAYS.items():
        given = {"max_forgetting": FORGETTING[lesson], **options}
        found[way] = played(folder / name / "head.bin", given, made["lesson"], tests)
    rows, labels = made["train"]
    wrong = (rows[:100], (labels[:100] + 1) % data.classes)
    given = {"max_forgetting": FORGETTING[lesson]}
    for name, more in (("poison", {}), ("believed", {"max_contradiction": 1.0})):
        found[name] = played(folder / "head/head.bin", {**given, **more}, wrong, tests)
    found["joint"] = joint([made["train"], made["lesson"]], tests)
    found["images"] = {name: len(getattr(data, name)[1]) for name in
                       ("train", "held", "lesson", "old_test", "new_test")}  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(found))
    return found


def on_board(folder: Path, data: Data, lesson: str, target_name: str) -> dict[str, Any]:
    """What ``continual_board.c`` says, compiled for a target: here, or under QEMU."""
    target = targets.load(target_name)
    out = folder / target.name
    if not out.exists():
        build(folder / "head/net.onnx", target, [], out, runtime="standalone", name="net")
    program = folder / f"board-{target.name}"
    learner = learner_library.compiled(target) / learner_library.ARCHIVE
    triple = f"{target.toolchain.triple}.{target.toolchain.glibc}"
    command = [*zig(), "cc", "-target", triple, "-O2", "-std=gnu11", "-o", program, PROGRAM]
    command += ["-I", out, "-I", learner_library.NATIVE, out / "libnet.a", learner]
    subprocess.run([*map(str, command), "-lpthread", "-lm"], check=True)
    parts = [data.lesson, data.old_test, data.new_test]
    given = [struct.pack("<3I", *(len(part[1]) for part in parts))]
    for images, labels in parts:
        for image, label in zip(images, labels, strict=True):
            given += [struct.pack("<i", label), image.astype("<f4").tobytes()]
    start = []
    if target.architecture != os.uname().machine:
        start = [emulate.QEMU, "-cpu", "cortex-a57", "-L", os.fspath(emulate.SYSTEM)]
    every = str(len(data.lesson[1]) // 2)
    words = [*start, program, folder / "head/head.bin", every, str(FORGETTING[lesson])]
    done = subprocess.run([*map(str, words)], input=b"".join(given), capture_output=True)
    if done.returncode:
        raise SystemExit(f"{program}: {done.stderr.decode(errors='replace').strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def results(
    rows: dict[str, list[dict[str, Any]]], boards: dict[str, dict[str, Any]]
) -> list[Result]:
    """The ratios, means over the seeds.

    Args:
        rows: of each lesson, `seed_rows` of each seed.
        boards: by ``LESSON here`` or ``LESSON qemu``, what the compiled program says of the first.
    """
    found = []
    for lesson, seeds in rows.items():
        mean = {way: {side: statistics.mean(each[way][side] for each in seeds)
                      for side in ("old", "new")}
                for way in ("shipped", *WAYS, "joint")}  # fmt: skip
        forgot = {way: mean["shipped"]["old"] - mean[way]["old"] for way in mean}
        accepted = sum(row["ours"]["phases"].count("accepted") for row in seeds)
        told = ", ".join(f"{way} {each['old']:.3f}/{each['new']:.3f}" for way, each in mean.items())
        found.append(
            Result(
                f"{lesson}: new data, ours over joint",
                mean["ours"]["new"] / mean["joint"]["new"],
                0.9,
                "higher",
                [each["ours"]["new"] / each["joint"]["new"] for each in seeds],
                f"old/new accuracy: {told}; {accepted} of {2 * len(seeds)} updates accepted",
                {"accuracy": mean, "forgetting": forgot, "seeds": seeds},
            )
        )
        found.append(
            Result(
                f"{lesson}: forgotten, ours over naive",
                max(0.0, forgot["ours"]) / max(forgot["naive"], 1e-9),
                0.25,
                note=f"ours {forgot['ours']:.3f}, naive {forgot['naive']:.3f}, joint "
                f"{forgot['joint']:.3f}",
            )
        )
        for name, told, bar in (("poison", "dropped", 1.0),
                                ("believed", "dropped by what is held back", None)):  # fmt: skip
            phases = [phase for row in seeds for phase in row[name]["phases"]]
            old = statistics.mean(row[name]["old"] for row in seeds)
            found.append(
                Result(
                    f"{lesson}: updates with wrong labels that are {told}",
                    phases.count("rejected") / len(phases),
                    bar,
                    "higher",
                    note=f"old accuracy {old:.3f} then; {seeds[0][name]['reason']}",
                )
            )
    for name, said in boards.items():
        lesson = name.split()[0]
        ours = rows[lesson][0]["ours"]
        apart = max(abs(said[side] - ours[side]) for side in ("old", "new"))
        found.append(
            Result(
                f"{name}: accuracy, compiled C from numpy",
                apart,
                0.01,
                note=f"old/new {said['old']:.3f}/{said['new']:.3f}; features "
                f"{said['features_ms']:.2f} ms, update {said['update_s']:.2f} s, longest step "
                f"{said['longest_step_ms']:.2f} ms, learner {said['learner_bytes'] / 1024:.0f} "
                f"KiB, peak {said['peak_kib']} KiB",
                details=said,
            )
        )
        found.append(
            Result(
                f"{name}: seconds of an update, C over numpy here",
                said["update_s"] / ours["update_s"],
                None,
                note=f"numpy {ours['update_s']:.2f} s, its step {ours['longest_step_ms']:.2f} ms",
            )
        )
    return found


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--first", type=int, default=100, help="the first seed")
    options.add_argument("--epochs", type=int, default=40)
    options.add_argument("--lessons", nargs="+", choices=LESSONS, default=list(LESSONS))
    options.add_argument("--skip", nargs="+", choices=("here", "qemu"), default=[])
    options.add_argument("--work", type=Path, help="keep the files here, and go on from them")
    given = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="continual-") as temporary:
        work = given.work or Path(temporary)
        rows: dict[str, list[dict[str, Any]]] = {}
        boards: dict[str, dict[str, Any]] = {}
        for lesson in given.lessons:
            rows[lesson] = []
            for seed in range(given.first, given.first + given.seeds):
                print(f"{lesson}: seed {seed}", file=sys.stderr, flush=True)
                rows[lesson].append(seed_rows(lesson, seed, given.epochs, work))
            data = digits(lesson, given.first)
            if lesson != given.lessons[0]:
                continue
            places = {"here": "host", "qemu": "jetson-nano"}
            for place, target in places.items():
                if place in given.skip:
                    continue
                if place == "qemu" and emulate.why_not() is not None:
                    print(f"left out: {emulate.why_not()}", file=sys.stderr)
                    continue
                print(f"{lesson}: {place}", file=sys.stderr, flush=True)
                folder = work / f"{lesson}-{given.first}"
                boards[f"{lesson} {place}"] = on_board(folder, data, lesson, target)
        return finish(results(rows, boards), given.json)


if __name__ == "__main__":
    sys.exit(main())
