"""The reference: a bare grpc.aio servicer with the generated stubs, and nothing of Moorage but those.

    python -m bench.bare SOCKET              constant answers
    python -m bench.bare SOCKET --pool DIR   CreateVolume and DeleteVolume do the local driver's own work, with no
                                             framework around it: no journal, no locks, no checks

It prints `ready` once it listens and ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf.wrappers_pb2 import BoolValue

from moorage.proto import csi_pb2 as pb
from moorage.proto import csi_pb2_grpc as stubs

if TYPE_CHECKING:
    from moorage.drivers.local import LocalDriver

KIND = pb.ControllerServiceCapability.RPC
CAPABILITIES = (
    KIND.CREATE_DELETE_VOLUME,
    KIND.LIST_VOLUMES,
    KIND.GET_CAPACITY,
    KIND.CREATE_DELETE_SNAPSHOT,
    KIND.LIST_SNAPSHOTS,
    KIND.CLONE_VOLUME,
    KIND.EXPAND_VOLUME,
    KIND.GET_VOLUME,
    KIND.SINGLE_NODE_MULTI_WRITER,
    KIND.MODIFY_VOLUME,
    KIND.GET_SNAPSHOT,
)


class BareIdentity(stubs.IdentityServicer):
    async def Probe(self, request: Any, context: Any) -> Any:  # noqa: N802 named by the generated stub
        return pb.ProbeResponse(ready=BoolValue(value=True))


class BareController(stubs.ControllerServicer):
    async def ControllerGetCapabilities(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        return pb.ControllerGetCapabilitiesResponse(
            capabilities=[pb.ControllerServiceCapability(rpc=KIND(type=kind)) for kind in CAPABILITIES]
        )

    async def ValidateVolumeCapabilities(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        return pb.ValidateVolumeCapabilitiesResponse(
            confirmed=pb.ValidateVolumeCapabilitiesResponse.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
            )
        )

    async def CreateVolume(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        size_bytes = request.capacity_range.required_bytes
        return pb.CreateVolumeResponse(volume=pb.Volume(volume_id=request.name, capacity_bytes=size_bytes))

    async def DeleteVolume(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        return pb.DeleteVolumeResponse()


class BareStorage(BareController):
    """Does what the local driver does for a volume, in a thread."""

    def __init__(self, driver: LocalDriver) -> None:
        self._driver = driver

    async def CreateVolume(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        from moorage.framework import NewVolume
        from moorage.spec.convert import from_proto

        wish: Any = from_proto(request)
        new = NewVolume(
            volume_id=wish.name,
            name=wish.name,
            size_bytes=wish.capacity_range.required_bytes,
            capacity_range=wish.capacity_range,
            volume_capabilities=wish.volume_capabilities,
        )
        made = await asyncio.to_thread(self._driver.create_volume, new)
        return pb.CreateVolumeResponse(volume=pb.Volume(volume_id=made.volume_id, capacity_bytes=made.capacity_bytes))

    async def DeleteVolume(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        from moorage.framework import VolumeRecord

        record = VolumeRecord(volume_id=request.volume_id, name=request.volume_id, capacity_bytes=0)
        await asyncio.to_thread(self._driver.delete_volume, record)
        return pb.DeleteVolumeResponse()


def controller(pool: str | None) -> Any:
    """The servicer; with the local driver's work on a pool, or with constant answers."""
    # The stubs are abstract for the type checker; a bare servicer answers UNIMPLEMENTED for the rest.
    constant: Any = BareController
    if pool is None:
        return constant()
    from moorage.drivers.local import LocalConfig, LocalDriver

    driver = LocalDriver(LocalConfig(pool=(pool,)))
    driver.start()
    storage: Any = BareStorage
    return storage(driver)


async def serve(path: str, pool: str | None) -> None:
    identity: Any = BareIdentity
    server = grpc.aio.server()
    stubs.add_IdentityServicer_to_server(identity(), server)
    stubs.add_ControllerServicer_to_server(controller(pool), server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    await until_told_to_stop()
    await server.stop(0)


async def until_told_to_stop() -> None:
    """Say that calls are answered, then wait for the end of standard input."""
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[int]:
    """The process id of a server of these benchmarks (`python -m` arguments), which ends with the body."""
    argv = [sys.executable, "-m", *arguments]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as server:
        assert server.stdout is not None
        try:
            if server.stdout.readline() != b"ready\n":
                raise OSError(f"{' '.join(argv)} did not start; run it by hand from the repository to see why")
            yield server.pid
            server.communicate(timeout=20)
        finally:
            if server.poll() is None:
                server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description="A bare grpc.aio servicer, to compare with.")
    parser.add_argument("socket")
    parser.add_argument("--pool")
    options = parser.parse_args()
    asyncio.run(serve(options.socket, options.pool))


if __name__ == "__main__":
    main()
