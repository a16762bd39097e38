"""How a failed call is told: what the driver said, and what gRPC made of its silence."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest

from moorage.rpc.attempt import Attempt
from moorage.rpc.connection import Connection
from moorage.rpc.endpoint import parse_client_endpoint
from moorage.spec.errors import Cancelled, CsiError, DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from moorage.spec.messages import DeleteVolumeRequest
from moorage.spec.rules import RPCS

RESET = "Stream removed (RST_STREAM (Received RST_STREAM with error code {}))"
TOO_LONG = "Stream removed (received metadata size exceeds hard limit (value length 1750002 vs. 1048576))"


@pytest.mark.parametrize(
    ("status", "details", "timeout_s", "error", "message"),
    [
        pytest.param("INTERNAL", "disk on fire", 60, Internal, "^disk on fire$", id="the driver's own"),
        pytest.param("CANCELLED", "shutting down", 60, Cancelled, "^shutting down$", id="cancelled by the driver"),
        pytest.param("UNAVAILABLE", "failed to connect", 60, Unavailable, "cannot be reached", id="no connection"),
        pytest.param("INTERNAL", RESET.format(2), 60, Unavailable, "lost on the way", id="stream reset"),
        pytest.param("CANCELLED", RESET.format(8), 60, Unavailable, "lost on the way", id="stream cancelled"),
        pytest.param("RESOURCE_EXHAUSTED", TOO_LONG, 60, Unavailable, "lost on the way", id="text too long"),
        pytest.param("RESOURCE_EXHAUSTED", "pool full", 60, ResourceExhausted, "^pool full$", id="the driver is full"),
        pytest.param(
            "DEADLINE_EXCEEDED", "Deadline Exceeded", 0, DeadlineExceeded, "did not answer", id="our deadline"
        ),
        pytest.param("CANCELLED", "Timeout expired", 0, DeadlineExceeded, "did not answer", id="said by tonic first"),
        pytest.param("CANCELLED", RESET.format(8), 0, DeadlineExceeded, "did not answer", id="said by grpc-go first"),
        pytest.param(
            "DEADLINE_EXCEEDED", "backend slow", 60, DeadlineExceeded, "^backend slow$", id="driver's deadline"
        ),
        pytest.param("INTERNAL", "disk on fire", 0, Internal, "^disk on fire$", id="a late answer is an answer"),
    ],
)
async def test_a_failure_is_told_as_what_it_is(
    tmp_path: Path, status: str, details: str, timeout_s: float, error: type[CsiError], message: str
) -> None:
    (tmp_path / "csi.sock").touch()
    connection = Connection(parse_client_endpoint(f"unix://{tmp_path}/csi.sock"))
    failure = grpc.aio.AioRpcError(grpc.StatusCode[status], grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    request = DeleteVolumeRequest(volume_id="v")
    with pytest.raises(error, match=message) as caught:  # noqa: SIM117 - the attempt itself is what raises
        with Attempt(RPCS["DeleteVolume"], request, connection=connection, timeout_s=timeout_s, observe=None):
            raise failure
    assert type(caught.value) is error
    await connection.close()
