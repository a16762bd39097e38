"""What Moorage's server costs over a bare grpc.aio servicer with generated stubs.

Both run in processes of their own and answer the same calls with the same trivial handlers; one client calls
them in turn. Read the ratios, not the milliseconds.

    python bench/rpc_overhead.py [--calls 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc.aio
from google.protobuf.wrappers_pb2 import BoolValue

from moorage.proto import csi_pb2 as pb
from moorage.proto import csi_pb2_grpc as stubs

CAPABILITY = pb.VolumeCapability(
    access_mode=pb.VolumeCapability.AccessMode(mode=pb.VolumeCapability.AccessMode.SINGLE_NODE_WRITER),
    mount=pb.VolumeCapability.MountVolume(fs_type="ext4", mount_flags=["noatime"]),
)
VALIDATE = pb.ValidateVolumeCapabilitiesRequest(
    volume_id="pvc-0c5f1b9e-6a55-4b0e-8a43-0d0d6a3b7d11",
    volume_capabilities=[CAPABILITY],
    volume_context={"pool": "default", "storage.kubernetes.io/csiProvisionerIdentity": "1-1-local"},
    parameters={"type": "thin"},
    secrets={"user": "someone", "password": "correct horse battery staple"},
)


class BareIdentity(stubs.IdentityServicer):
    async def Probe(self, request: Any, context: Any) -> Any:  # noqa: N802 named by the generated stub
        return pb.ProbeResponse(ready=BoolValue(value=True))


class BareController(stubs.ControllerServicer):
    async def ControllerGetCapabilities(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        kinds = pb.ControllerServiceCapability.RPC
        return pb.ControllerGetCapabilitiesResponse(
            capabilities=[
                pb.ControllerServiceCapability(rpc=kinds(type=kind))
                for kind in (kinds.CREATE_DELETE_VOLUME, kinds.PUBLISH_UNPUBLISH_VOLUME, kinds.LIST_VOLUMES)
            ]
        )

    async def ValidateVolumeCapabilities(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        return pb.ValidateVolumeCapabilitiesResponse(
            confirmed=pb.ValidateVolumeCapabilitiesResponse.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
            )
        )


async def serve_bare(path: str) -> None:
    # The stubs are abstract for the type checker; a bare servicer answers UNIMPLEMENTED for the rest.
    identity: Any = BareIdentity
    controller: Any = BareController
    server = grpc.aio.server()
    stubs.add_IdentityServicer_to_server(identity(), server)
    stubs.add_ControllerServicer_to_server(controller(), server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    await until_told_to_stop()
    await server.stop(0)


async def serve_moorage(path: str) -> None:
    from moorage.base.log import SecretScrubber, configure
    from moorage.base.metrics import PLUGIN_OPERATIONS, Metrics
    from moorage.rpc.observation import observe_in
    from moorage.rpc.server import Server
    from moorage.spec.capabilities import Declared
    from moorage.spec.messages import (
        Confirmed,
        ControllerGetCapabilitiesResponse,
        ProbeResponse,
        ValidateVolumeCapabilitiesRequest,
        ValidateVolumeCapabilitiesResponse,
    )
    from moorage.spec.types import ControllerCapability, PluginCapability

    offered = frozenset(
        {
            ControllerCapability.CREATE_DELETE_VOLUME,
            ControllerCapability.PUBLISH_UNPUBLISH_VOLUME,
            ControllerCapability.LIST_VOLUMES,
        }
    )
    ready, capabilities = ProbeResponse(ready=True), ControllerGetCapabilitiesResponse(capabilities=offered)

    async def probe(request: object) -> ProbeResponse:
        return ready

    async def get_capabilities(request: object) -> ControllerGetCapabilitiesResponse:
        return capabilities

    async def validate(request: ValidateVolumeCapabilitiesRequest) -> ValidateVolumeCapabilitiesResponse:
        confirmed = Confirmed(request.volume_context, request.volume_capabilities, request.parameters)
        return ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    scrubber = SecretScrubber()
    configure("json", "info", scrubber=scrubber)
    server = Server(
        {
            "Probe": probe,
            "ControllerGetCapabilities": get_capabilities,
            "ValidateVolumeCapabilities": validate,
        },
        Declared(
            plugin=frozenset({PluginCapability.CONTROLLER_SERVICE}),
            controller=offered,
            services=frozenset({"Identity", "Controller"}),
        ),
        driver_name="bench.moorage.example",
        endpoint=path,
        scrubber=scrubber,
        observe=observe_in(Metrics(PLUGIN_OPERATIONS), driver_name="bench.moorage.example"),
    )
    await server.start()
    await until_told_to_stop()
    await server.stop(grace_s=0)


async def until_told_to_stop() -> None:
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def child(kind: str, path: str) -> Iterator[int]:
    argv = [sys.executable, __file__, "--serve", kind, path]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n", f"the {kind} server did not start"
        try:
            yield server.pid
        finally:
            server.communicate(timeout=20)


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def time_calls(method: Callable[[Any], Any], request: Any, calls: int) -> list[float]:
    samples = []
    for _ in range(calls):
        began_s = time.perf_counter()
        await method(request)
        samples.append(time.perf_counter() - began_s)
    return samples


async def measure(calls: int, rounds: int) -> None:
    cases: list[tuple[str, str, Any]] = [
        ("Probe", "IdentityStub", pb.ProbeRequest()),
        ("ControllerGetCapabilities", "ControllerStub", pb.ControllerGetCapabilitiesRequest()),
        ("ValidateVolumeCapabilities", "ControllerStub", VALIDATE),
    ]
    kinds = ("bare", "moorage")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as children:
        pids = {kind: children.enter_context(child(kind, f"{folder}/{kind}.sock")) for kind in kinds}
        async with contextlib.AsyncExitStack() as channels:
            opened = {
                kind: await channels.enter_async_context(
                    grpc.aio.insecure_channel(
                        f"unix:{folder}/{kind}.sock", options=[("grpc.default_authority", "localhost")]
                    )
                )
                for kind in kinds
            }
            print(f"{'RPC':28} {'bare p50':>10} {'ours p50':>10} {'ratio':>6} {'CPU ratio':>10}")
            for name, stub, request in cases:
                samples: dict[str, list[float]] = {kind: [] for kind in kinds}
                spent_s = dict.fromkeys(kinds, 0.0)
                for _ in range(rounds):
                    for kind in kinds:
                        method = getattr(getattr(stubs, stub)(opened[kind]), name)
                        await time_calls(method, request, 50)
                        before_s = cpu_s(pids[kind])
                        samples[kind] += await time_calls(method, request, calls // rounds)
                        spent_s[kind] += cpu_s(pids[kind]) - before_s
                bare, ours = (statistics.median(samples[kind]) for kind in kinds)
                cpu = spent_s["moorage"] / max(spent_s["bare"], 0.01)
                print(f"{name:28} {bare * 1e3:7.3f} ms {ours * 1e3:7.3f} ms {ours / bare:6.2f} {cpu:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--serve", nargs=2, metavar=("KIND", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        kind, path = options.serve
        asyncio.run(serve_bare(path) if kind == "bare" else serve_moorage(path))
    else:
        asyncio.run(measure(options.calls, options.rounds))


if __name__ == "__main__":
    main()
