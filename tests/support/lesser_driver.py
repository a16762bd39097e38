"""Serves a driver that declares less, in front of one that declares everything.

    python -m tests.support.lesser_driver --listen SOCKET --backend SOCKET --directory DIR --declared JSON

What is not declared is refused and not spoken of; the work that an orchestrator would have asked for through it
is done here, in the calls that are left: a correct driver without staging stages within NodePublishVolume.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import signal
from pathlib import Path
from typing import Any

import msgspec
from tests.support.lesser_answers import allowed, confirmable, refusal
from tests.support.lesser_steps import steps
from tests.support.lesser_volumes import Volumes

from moorage.rpc.endpoint import parse_server_endpoint
from moorage.rpc.raw import Answer, RawClient
from moorage.rpc.relay import Relay
from moorage.rpc.wire import WireError, decode, encode
from moorage.spec import messages as m
from moorage.spec.capabilities import Declared, gate_open
from moorage.spec.errors import Code
from moorage.spec.rules import RPCS, Rpc
from moorage.testing.mutants import Call, Reply

BY_PATH = {rpc.path: rpc for rpc in RPCS.values()}
FORWARD_S = 60.0


class LesserDriver:
    """Answers calls as a driver with these declarations; the relay's function. `directory` is its own."""

    def __init__(self, declared: Declared, backend: RawClient, directory: Path) -> None:
        self._declared = declared
        self._backend = backend
        self._volumes = Volumes(directory)
        self._steps = steps(declared)

    async def __call__(self, path: str, body: bytes) -> Answer:
        rpc = BY_PATH.get(path)
        if rpc is None:
            return await self._backend.call(path, body, timeout_s=FORWARD_S)
        if not gate_open(rpc, self._declared):
            return _answer(Reply.failed(Code.UNIMPLEMENTED, f"{rpc.name} is not offered by this driver"))
        try:
            request: Any = decode(rpc.request_proto, body)
        except WireError:
            return await self._backend.call(path, body, timeout_s=FORWARD_S, streaming=rpc.streaming)
        if error := refusal(rpc, request, self._declared):
            return _answer(Reply.failed(error.code, error.message))
        call = Call(rpc=rpc, body=body, request=request, backend=self._backend, memory={})
        step = self._steps.get(rpc.name)
        reply = await (step(call, self._volumes) if step else call.forward())
        return _answer(self._within(rpc, request, reply))

    def _within(self, rpc: Rpc, request: Any, reply: Reply) -> Reply:
        """The reply without what this driver must not say."""
        bodies = []
        for body in reply.bodies:
            whole = decode(rpc.response_proto, body)
            less = allowed(whole, self._declared)
            bodies.append(body if less == whole else encode(less))
        asked = isinstance(request, m.ValidateVolumeCapabilitiesRequest)
        if reply.ok and asked and not confirmable(request, self._declared):
            return Reply.of(m.ValidateVolumeCapabilitiesResponse(message="an access mode is not supported"))
        return dataclasses.replace(reply, bodies=tuple(bodies))


def _answer(reply: Reply) -> Answer:
    return Answer(
        code=reply.code,
        message=reply.message,
        bodies=reply.bodies,
        details=reply.details,
        duration_s=0.0,
        answered=True,
    )


# --- the process ------------------------------------------------------------------------------------


async def serve(declared: Declared, *, listen: str, backend: str, directory: Path) -> None:
    """Serve until SIGTERM."""
    client = RawClient(backend)
    relay = Relay(parse_server_endpoint(listen), LesserDriver(declared, client, directory))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await relay.start()
    print("ready", flush=True)
    await stopping.wait()
    await relay.stop()
    await client.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--listen", "--backend", "--directory", "--declared"):
        parser.add_argument(option, required=True)
    given = parser.parse_args()
    declared = msgspec.json.decode(given.declared, type=Declared)
    asyncio.run(serve(declared, listen=given.listen, backend=given.backend, directory=Path(given.directory)))


if __name__ == "__main__":
    main()
