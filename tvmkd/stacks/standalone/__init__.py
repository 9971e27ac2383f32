"""Standalone libraries: a model's kernels called one after the other from C, without TVM.

A compiler gives the calls (`graph`), which `source` writes as C and `library` compiles and links
with the runtime in ``tvmkd/runtime/native/standalone``.
"""
