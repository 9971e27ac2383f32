from __future__ import annotations

import pytest
from build_fakes import Generation

from tvmkd.base import console
from tvmkd.tensorrt.log import log_of, plain

MYELIN = (
    "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check_turing] Cannot "
    "compile operation 'fc' for Turing (SM75): FP32 GEMM is not supported. In compileGraph at "
    "/_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
OLD = (
    "4: [network.cpp::validate::2871] Error Code 4: Internal Error (Network has dynamic inputs, "
    "but no optimization profile has been defined.)"
)
NO_DRIVER = (
    "IBuilder::buildSerializedNetwork: Error Code 1: Cuda Runtime (In generateForCurrent at "
    "/_src/runtime/core/cudaDeviceProfile.cpp:221 (cudaError 35: CUDA driver version is "
    "insufficient for CUDA runtime version))"
)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (MYELIN, "Cannot compile operation 'fc' for Turing (SM75): FP32 GEMM is not supported"),
        (OLD, "Network has dynamic inputs, but no optimization profile has been defined"),
        (NO_DRIVER, "CUDA driver version is insufficient for CUDA runtime version"),
        ("one\n two", "one two"),
        ("x" * 500, "x" * 300),
    ],
)
def test_a_message_is_one_line_without_nvidias_sources(said: str, line: str) -> None:
    assert plain(said) == line


def test_each_module_has_one_log() -> None:
    module = Generation("8.6").module
    assert log_of(module) is log_of(module)
    assert log_of(module) is not log_of(Generation("rtx").module)
    other = Generation("8.6").module
    assert log_of(other) is not log_of(module)


def test_errors_warnings_and_layers_are_kept_until_the_next_build() -> None:
    log = log_of(Generation("10").module)
    for severity, text in enumerate(("fatal", "error", "warning", "info", "Layers:\nName: a")):
        log.handle.log(severity, text)
    assert (log.errors, log.warnings) == (["fatal", "error"], ["warning"])
    assert log.layers.endswith("Name: a")
    assert log.why() == "fatal"
    log.clear()
    assert (log.errors, log.layers, log.why()) == ([], "", "no message")


def test_the_missing_driver_is_not_the_reason_where_there_is_another() -> None:
    log = log_of(Generation("rtx").module)
    log.handle.log(1, NO_DRIVER)
    assert log.why().startswith("CUDA driver version is insufficient")
    log.handle.log(1, "the reason")
    assert log.why() == "the reason"


def test_verbose_prints_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(console, "say", shown.append)
    log = log_of(Generation("11").module)
    log.handle.log(3, "silent")
    log.verbose = True
    for severity in (3, 4):
        log.handle.log(severity, f"severity {severity}")
    assert shown == ["severity 3"]


def test_ctrl_c_in_a_callback_does_not_reach_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "say", interrupted)
    log = log_of(Generation("11").module)
    log.verbose = True
    log.handle.log(3, "anything")
    assert isinstance(log.stopped, KeyboardInterrupt)
