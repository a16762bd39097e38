"""Moorage and Rust's tonic: our client with a Rust driver, and a Rust client with our server.

Rust's h2 resets a request whose authority is no host name, and over a unix socket gRPC's core by itself sends the
percent-encoded path of the socket. The control below shows that this still holds for tonic 0.14 with h2 0.4, so that
the other tests here would fail without the authority that our client sets.
"""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest
from tests.support import peer_contract, peers

from moorage.proto.csi_pb2 import ProbeRequest
from moorage.proto.csi_pb2_grpc import IdentityStub
from moorage.rpc.client import Client
from moorage.spec.errors import Code

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def binary() -> Path:
    place = peers.place_of("rust")
    if place.missing:
        pytest.skip(place.missing)
    return place.binary


class TestRustDriver(peer_contract.DriverContract):
    plugin_name = "rust.peer.example.com"
    id_prefix = "rust-"

    async def test_a_plain_channel_is_reset_for_its_authority(self, driver: peers.Serving) -> None:
        """The control: the same call without our client's options."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{driver.socket}", options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="RST_STREAM") as caught:
                await IdentityStub(channel).Probe(ProbeRequest(), timeout=10)
            assert caught.value.code() is grpc.StatusCode.INTERNAL
        async with Client(f"unix://{driver.socket}") as client:
            assert (await client.probe()).ready is True


class TestRustClient(peer_contract.ClientContract):
    late = Code.CANCELLED  # tonic's own answer to a time limit, "Timeout expired"
