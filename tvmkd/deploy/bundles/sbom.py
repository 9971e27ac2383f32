"""The bill of materials of a bundle or an image: CycloneDX 1.6, by cyclonedx-python-lib."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvmkd.base import stack_registry
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.base.version import __version__
from tvmkd.deploy.bundles.model import Model

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

OWN = re.compile(r"\bLicenseRef-[A-Za-z0-9.-]+")
"""SPDX's names for licences that are not in its list."""
LLVM = "Apache-2.0 WITH LLVM-exception"


@dataclass(frozen=True)
class Part:
    """Something that is shipped.

    Attributes:
        path: below the bundle or the image.
        sha256: of its bytes.
        what: one line for people.
        kind: of CycloneDX: ``library``, ``application``, ``file``.
        license: an SPDX expression; None: nobody said.
        contains: the names in `ELSEWHERE` of others' code that is compiled in.
    """

    path: str
    sha256: str
    what: str = ""
    kind: str = "file"
    license: str | None = None
    contains: tuple[str, ...] = ()


ELSEWHERE: Mapping[str, tuple[str, str, str]] = {
    "zig": ("zig", "MIT", "Zig's standard library and compiler runtime"),
}
"""Others' code that is linked in: name, licence, what it is."""


def package() -> Any:
    """The package ``cyclonedx``.

    Raises:
        MissingError: it is not installed.
    """
    try:
        import cyclonedx
    except ImportError:
        raise MissingError(
            "cyclonedx-python-lib is not installed: pip install 'tvmkd[deploy]'"
        ) from None
    return cyclonedx


def text(
    model: Model, name: str, version: str, parts: list[Part], license_id: str | None = None
) -> str:
    """The bill as JSON; the same arguments give the same text.

    Args:
        model: what the library was compiled from and with.
        name, version: of the bundle.
        parts: what is shipped, in any order.
        license_id: the model's own licence, an SPDX expression; None: nobody said.

    Raises:
        UsageError: ``license_id`` is no SPDX expression.
        MissingError: cyclonedx-python-lib is not installed.
    """
    package()
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    parts = sorted(parts, key=lambda part: part.path)
    manifest = model.manifest
    network = Component(
        name=manifest.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        description="the ONNX file that was compiled into the library",
        hashes=_hashes(manifest.onnx_sha256),
        licenses=_licenses(license_id),
    )
    root = Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref="bundle")
    shipped = {part.path: _component(part) for part in parts}
    used = sorted({each for part in parts for each in part.contains})
    linked = {each: _linked(each) for each in used}
    # Everything that the bill says decides about its number, and nothing else does.
    said = repr((name, version, manifest.created, license_id, parts, manifest.stack_version))
    bom = Bom(
        components=[network, *shipped.values(), *linked.values()],
        serial_number=uuid.UUID(bytes=hashlib.sha256(said.encode()).digest()[:16], version=4),
        metadata=BomMetaData(
            component=root,
            tools=ToolRepository(components=_tools(model)),
            timestamp=datetime.datetime.fromisoformat(manifest.created),
        ),
    )
    bom.register_dependency(root, [network, *shipped.values()])
    for part in parts:
        inside = [linked[each] for each in part.contains]
        if part.kind == "library":
            inside.append(network)
        bom.register_dependency(shipped[part.path], inside)
    made: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(
        indent=2
    )
    return made + "\n"


def _component(part: Part) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=part.path,
        version=__version__ if part.kind == "application" else None,
        type=ComponentType(part.kind),
        bom_ref=f"file:{part.path}",
        description=part.what or None,
        hashes=_hashes(part.sha256),
        licenses=_licenses(part.license),
    )


def _linked(name: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    title, spdx, what = ELSEWHERE[name]
    return Component(
        name=title,
        version=_zig_version() if name == "zig" else None,
        type=ComponentType.LIBRARY,
        bom_ref=f"linked:{name}",
        description=what,
        licenses=_licenses(spdx),
    )


def _tools(model: Model) -> list[Component]:
    from cyclonedx.model.component import Component, ComponentType

    manifest = model.manifest
    upstream = manifest.stack == stack_registry.DEFAULT
    compiler = "apache-tvm" if upstream else f"tvm ({manifest.stack})"
    found = (
        ("tvmkd", manifest.tvmkd_version, "Apache-2.0", "built the library"),
        (compiler, manifest.stack_version, "Apache-2.0", "compiled the kernels; not shipped"),
        ("LLVM", None, LLVM, f"generated the code; the one inside {compiler}; not shipped"),
        ("zig", _zig_version(), "MIT", "compiled the programs and the library's runtime"),
    )
    return [
        Component(
            name=name,
            version=version,
            type=ComponentType.APPLICATION,
            bom_ref=f"tool:{name}",
            description=what,
            licenses=_licenses(spdx),
        )
        for name, version, spdx, what in found
    ]


def _zig_version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _hashes(sha256: str) -> list[Any]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)]


def _licenses(spdx: str | None) -> list[Any]:
    from cyclonedx.contrib.license.exceptions import (
        InvalidLicenseExpressionException,
        InvalidSpdxLicenseException,
    )
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.license import LicenseExpression

    if spdx is None:
        return []
    factory = LicenseFactory()
    with contextlib.suppress(InvalidSpdxLicenseException):
        return [factory.make_with_id(spdx)]
    # The library knows no licences of one's own, which SPDX allows, and takes no text for one.
    known = OWN.sub("MIT", spdx)
    try:
        factory.make_with_expression(known if known.strip() else "-")
    except InvalidLicenseExpressionException:
        raise UsageError(
            f"--license {spdx}: is no SPDX expression; give for example Apache-2.0, or "
            "LicenseRef-NAME for one of your own (spdx.org)"
        ) from None
    return [LicenseExpression(spdx)]
