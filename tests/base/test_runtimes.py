from __future__ import annotations

from tvmkd.base import runtimes
from tvmkd.base.manifest import LIBRARY, FileEntry, Manifest


def test_the_names_that_manifests_hold() -> None:
    assert runtimes.RUNTIMES == (runtimes.TVM, runtimes.STANDALONE) == ("tvm", "standalone")


def test_a_manifest_without_one_is_of_tvms() -> None:
    entry = FileEntry(sha256="0", size=1)
    fields = {
        "name": "n", "created": "", "tvmkd_version": "", "target": {}, "stack": "relax",
        "stack_version": "", "onnx_sha256": "", "inputs": [], "outputs": [],
        "files": {"libn.a": entry, "libn.so": entry, LIBRARY: entry},
    }  # fmt: skip
    old = Manifest.model_validate(fields)
    assert (old.runtime, old.library) == (runtimes.TVM, LIBRARY)
    new = Manifest.model_validate({**fields, "runtime": runtimes.STANDALONE})
    assert new.library == "libn.so"
