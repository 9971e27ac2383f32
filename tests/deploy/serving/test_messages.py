"""The protocol's messages: made from the committed file, and the same as Triton's."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("google.protobuf", reason="it is needed: pip install 'tvmkd[serve]'")


def test_the_compiled_protocol_is_the_source() -> None:
    pytest.importorskip("grpc_tools")
    from tvmkd.deploy.serving import messages

    assert messages.COMPILED.read_bytes() == messages.compiled(), (
        "run python -m tvmkd.deploy.serving.messages"
    )


def test_the_protocol_is_tritons() -> None:
    """Names, numbers and types of all fields are those of the client that everybody uses."""
    service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
    from tvmkd.deploy.serving import messages

    def fields(descriptor: Any) -> dict[str, Any]:
        return {
            each.name: (each.number, each.type, each.message_type and fields(each.message_type))
            for each in descriptor.fields
        }

    seen = 0
    for request, response in messages.methods().values():
        for found in (request.DESCRIPTOR, response.DESCRIPTOR):
            theirs = service_pb2.DESCRIPTOR.message_types_by_name[found.name]
            assert fields(found) == fields(theirs)
            seen += len(found.fields)
    assert seen > 30


def test_a_message_goes_over_the_wire_and_back() -> None:
    from tvmkd.deploy.serving import messages

    request, response = messages.methods()["ModelInfer"]
    assert request is messages.message("ModelInferRequest")
    sent = request(model_name="toy", raw_input_contents=[b"\0\xff", b""])
    sent.inputs.add(name="x", datatype="FP32", shape=[1, -4])
    sent.parameters["timeout"].int64_param = 7
    found = request.FromString(sent.SerializeToString())
    assert found == sent
    assert list(found.raw_input_contents) == [b"\0\xff", b""]
    assert list(found.inputs[0].shape) == [1, -4]
    assert found.parameters["timeout"].WhichOneof("parameter_choice") == "int64_param"
    assert not found.inputs[0].HasField("contents")
    assert response is not request


def test_every_method_of_the_service_has_its_messages() -> None:
    from tvmkd.deploy.serving import messages

    for name, (request, response) in messages.methods().items():
        assert request.DESCRIPTOR.full_name == f"inference.{name}Request"
        assert response.DESCRIPTOR.full_name == f"inference.{name}Response"


def test_they_are_not_in_the_pool_of_other_clients() -> None:
    from google.protobuf import descriptor_pool

    from tvmkd.deploy.serving import messages

    ours = messages.message("ModelInferRequest").DESCRIPTOR
    assert ours.file.pool is not descriptor_pool.Default()
