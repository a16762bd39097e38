"""Every RPC with fields that no orchestrator would send, over the wire, against the driver as it is run.

Whatever arrives, the answer is a code of the specification with a sentence, never UNKNOWN or INTERNAL, and nothing
comes into being outside of the pool, the state directory and the paths that were given.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from typing import Final

import grpc.aio
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.hostile_requests import Maker
from tests.support.playground import Place, foreign_mounts, state_of

from moorage.spec.rules import RPCS

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(240)]

EXAMPLES: Final = int(os.environ.get("MOORAGE_HOSTILE_EXAMPLES", "60"))


@pytest.mark.parametrize("name", list(RPCS))
async def test_no_request_is_too_strange(place: Place, name: str) -> None:
    """Random requests; the traps are intact afterwards, and nothing is where nobody asked for it."""
    rpc = RPCS[name]
    outside, mounts = state_of(place.outside), foreign_mounts(place)
    here, root, top = set(os.listdir()), set(os.listdir("/")), set(os.listdir(place.base))
    around = set(os.listdir(place.driver.directory))
    wanted: list[Message] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 1 << 64), st.lists(st.text(max_size=40), min_size=8, max_size=8))
    def imagine(seed: int, texts: list[str]) -> None:
        wanted.append(Maker(place, rpc, seed=seed, texts=texts).request())

    await asyncio.to_thread(imagine)
    problems: dict[str, str] = {}
    for request in wanted:
        if problem := await place.send(rpc, request.SerializeToString()):
            problems.setdefault(problem, str(request)[:2000])
    assert not problems, "\n".join(f"{problem}\n{request}" for problem, request in problems.items())
    assert state_of(place.outside) == outside
    assert foreign_mounts(place) == mounts
    assert (set(os.listdir()), set(os.listdir("/")), set(os.listdir(place.base))) == (here, root, top)
    assert set(os.listdir(place.driver.directory)) == around
    assert (place.play / "full" / "file").read_text() == (place.play / "file").read_text() == "keep"
    assert (place.play / "link").is_symlink()
    assert await place.send(RPCS["Probe"], b"") == ""


# --- what is no request at all -----------------------------------------------------------------------


def mutilated(raw: bytes, rng: random.Random) -> bytes:
    """A message cut off, or with a few of its bytes replaced."""
    if rng.random() < 0.5:
        return raw[: rng.randrange(len(raw))]
    changed = bytearray(raw)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


async def test_bytes_that_are_no_message(place: Place) -> None:
    """Cut off, scribbled upon, nested too deep, not UTF-8: refused or read, and the driver lives."""
    rng = random.Random(5)
    loops = place.driver.descriptors()
    for rpc in RPCS.values():
        if rpc.name in {"NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"}:
            continue  # a scribbled path could be one of this machine's own
        for _ in range(20):
            raw = Maker(place, rpc, seed=rng.randrange(1 << 32), texts=[]).request().SerializeToString()
            if raw:
                assert await place.send(rpc, mutilated(raw, rng)) == ""
    create, delete = RPCS["CreateVolume"], RPCS["DeleteVolume"]
    not_utf8, truncated, negative_length = (
        b"\x0a\x02\xff\xfe",
        b"\x0a\x7fshort",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    )
    for raw in (not_utf8, truncated, negative_length, b"\xff" * 100, b"\x1b" * 5000):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await place.raw(delete.path, raw, timeout_s=10)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "cannot be read" in (refusal.value.details() or "")
        assert await place.send(create, raw) == ""
    assert await place.send(RPCS["Probe"], b"") == ""
    assert place.driver.descriptors() == loops


async def test_methods_that_do_not_exist(place: Place) -> None:
    for path in ("/csi.v1.Controller/Nonsense", "/csi.v0.Identity/Probe", "/x/y", "/csi.v1.Node/../Controller/Probe"):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await place.raw(path, b"\xff\xff", timeout_s=10)
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert refusal.value.details()
    assert await place.send(RPCS["Probe"], b"") == ""


async def test_huge_messages(place: Place) -> None:
    """What is larger than gRPC's limit is refused by gRPC; what is just below it is read, and costs no second."""
    delete = RPCS["DeleteVolume"]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await place.raw(delete.path, b"\x0a\x84\x80\x80\x04" + b"v" * (8 << 20), timeout_s=30)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    request = delete.request_proto(volume_id="v" * (3 << 20))
    assert await place.send(delete, request.SerializeToString()) == ""
    create = RPCS["CreateVolume"].request_proto(name="x" * (3 << 20))
    assert await place.send(RPCS["CreateVolume"], create.SerializeToString()) == ""
    assert await place.send(RPCS["Probe"], b"") == ""


async def test_peers_that_do_not_speak_grpc(place: Place) -> None:
    """Noise, HTTP/1, a preface without a sequel and connections that say nothing do not keep others out."""
    silent = []
    for _ in range(50):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(place.driver.socket))
        silent.append(peer)
    for noise in (
        os.urandom(4096),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 300,
    ):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(place.driver.socket))
            peer.sendall(noise)
            assert await place.send(RPCS["Probe"], b"") == ""
    assert await place.send(RPCS["GetPluginInfo"], b"") == ""
    for peer in silent:
        peer.close()
