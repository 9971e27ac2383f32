"""Makes a bundle: everything that a board needs for one version of a model, in one archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.artifact import MANIFEST
from tvmkd.base.errors import InputError
from tvmkd.base.files import sha256
from tvmkd.base.version import __version__
from tvmkd.boards import symbols
from tvmkd.deploy import learner_file, serve_file
from tvmkd.deploy.board_learner import head_file
from tvmkd.deploy.bundles import archive, card, power, programs, sbom, self_test, service, signing
from tvmkd.deploy.bundles.archive import EXECUTABLE, Entry
from tvmkd.deploy.bundles.model import Model
from tvmkd.deploy.bundles.tool import BOARD

if TYPE_CHECKING:
    import minisign

FORMAT = 1
"""Of ``BUNDLE``; an install.sh refuses a number that it does not know."""
DESCRIPTION, SUMS, SIGNATURE, KEY = "BUNDLE", "SHA256SUMS", "SHA256SUMS.minisig", "publisher.pub"
BILL = "sbom.cdx.json"
LICENSE = "Apache-2.0"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Bundle:
    """What was made.

    Attributes:
        path: the archive.
        name, version: of the bundle.
        sha256: of the archive.
        sizes: bytes of each file in it, by path.
        tested: what the self-test said here; empty: the target does not run here.
        emulated: the self-test ran under QEMU.
        key: the number of the key that signed it, None: not signed.
    """

    path: Path
    name: str
    version: str
    sha256: str
    sizes: Mapping[str, int]
    tested: str
    emulated: bool
    key: str | None


@dataclass(frozen=True)
class Options:
    """What the caller chooses.

    Attributes:
        key: signs the bundle; None: it is not signed.
        power: the power mode while the service runs; None: the board's power is left alone.
        onnx, inputs: see `tvmkd.deploy.bundles.self_test.record`.
        classes: a file with a class name a line.
        license: of the model, an SPDX expression.
        learn: a ``head.bin`` of `tvmkd.deploy.learn_head`; None: nothing to learn with is added.
    """

    key: minisign.SecretKey | None = None
    power: str | None = None
    onnx: Path | None = None
    inputs: Path | None = None
    classes: Path | None = None
    license: str | None = None
    learn: Path | None = None


def make(model: Model, out: Path, name: str, version: str, options: Options, tell: Tell) -> Bundle:
    """Writes the bundle; the same arguments give the same bytes on the same machine.

    The library is run on the recorded input first, here or under QEMU, where one of them can.

    Raises:
        InputError: the library fails its self-test, needs a newer glibc than its target has, the
            head belongs to another one, or something given cannot be used.
        UsageError: the target has no such power mode.
        MissingError: a package or a compiler is missing.
    """
    power.check_mode(model.target, options.power)
    learner = {} if options.learn is None else _learner(model, options.learn)
    tell("compiling the programs")
    built = programs.build(model, tell)
    symbols.check(
        [model.library, *(each.path for each in built if not each.static)],
        model.target.toolchain.glibc,
    )
    start, said = self_test.runner(model), ""
    recording = self_test.record(model, built[0].path, start, options.onnx, options.inputs)
    if start is not None:
        tell("running the self-test" + (" under QEMU" if start else ""))
        said = self_test.check(model, built[0].path, recording, start)
    entries = _entries(model, name, version, recording, built, options) | learner
    digests = {path: entry.sha256() for path, entry in entries.items()}
    parts = _parts(f"lib/{model.library.name}", digests, built, options.license)
    bill = Entry(sbom.text(model, name, version, parts, options.license).encode())
    entries[BILL], digests[BILL] = bill, bill.sha256()
    sums = "".join(f"{digests[path]}  {path}\n" for path in sorted(entries))
    entries[SUMS] = Entry(sums.encode())
    if options.key is not None:
        comment = f"{name} {version} file:{SUMS}"
        entries[SIGNATURE] = Entry(signing.sign(options.key, sums.encode(), comment))
    tell(f"writing {out}")
    archive.write(out, f"{name}-{version}", entries)
    key = options.key and signing.key_id(options.key.get_public_key())
    return Bundle(
        out,
        name,
        version,
        sha256(out),
        {path: entry.size for path, entry in sorted(entries.items())},
        said,
        bool(start),
        key,
    )


def _entries(
    model: Model,
    name: str,
    version: str,
    recording: self_test.Recording,
    built: list[programs.Program],
    options: Options,
) -> dict[str, Entry]:
    """Everything but the bill, the checksums and the signature."""
    library = f"lib/{model.library.name}"
    fields = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "architecture": model.target.architecture,
        "glibc": model.target.toolchain.glibc,
        "target": model.target.name,
        "library": library,
        "tolerance": f"{recording.tolerance:.9g}",
        "recorded_with": recording.source,
        "tvmkd": __version__,
    }
    names = card.classes(model.manifest, options.classes)
    entries = {
        DESCRIPTION: Entry("".join(f"{key}={value}\n" for key, value in fields.items()).encode()),
        "install.sh": Entry(BOARD / "install.sh", EXECUTABLE),
        library: Entry(model.library, EXECUTABLE),
        "bin/serve.py": Entry(serve_file.text().encode(), EXECUTABLE),
        MANIFEST: Entry(model.folder / MANIFEST),
        "model.json": Entry(card.text(model, name, version, names).encode()),
        "tvmkd.service": Entry(service.unit(name, options.power, library).encode()),
    }
    entries |= {each.place: Entry(each.path, EXECUTABLE) for each in built}
    entries |= {
        path: Entry(data) for path, data in self_test.files(model.manifest, recording).items()
    }
    script = power.script(model.target)
    if script is not None:
        entries["power.sh"] = Entry(script.encode(), EXECUTABLE)
    if names is not None:
        entries["classes.txt"] = Entry("".join(f"{each}\n" for each in names).encode())
    if options.key is not None:
        entries[KEY] = Entry(signing.public_bytes(options.key.get_public_key()))
    return entries


def _learner(model: Model, path: Path) -> dict[str, Entry]:
    """What ``serve.py --learn`` needs."""
    try:
        head = head_file.read_head(str(path))
    except head_file.LearnError as error:
        raise InputError(str(error)) from None
    if head.model.hex() != model.manifest.onnx_sha256:
        raise InputError(
            f"{path}: belongs to another library than {model.folder}; build the ONNX file that "
            "tvmkd deploy learn wrote beside it"
        )
    learner = Entry(learner_file.text().encode())
    return {"learn/head.bin": Entry(path), f"bin/{learner_file.NAME}": learner}


def _parts(
    library: str,
    digests: Mapping[str, str],
    built: list[programs.Program],
    license_id: str | None,
) -> list[sbom.Part]:
    known = {each.place: each for each in built}
    parts = []
    for path, digest in digests.items():
        if path == library:
            what = "the compiled model, with tvmkd's runtime (Apache-2.0) linked in"
            part = sbom.Part(path, digest, what, "library", license_id, ("zig",))
        elif path in known:
            part = sbom.Part(path, digest, known[path].what, "application", LICENSE, ("zig",))
        else:
            # Scripts are tvmkd's, everything else is about the user's own model.
            ours = path.endswith((".sh", ".py", ".service"))
            part = sbom.Part(path, digest, license=LICENSE if ours else None)
        parts.append(part)
    return parts
