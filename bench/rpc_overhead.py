"""What Moorage's server costs over a bare grpc.aio servicer with generated stubs.

Both run in processes of their own and answer the same calls with the same trivial handlers; one client calls
them in turn. Read the ratios, not the milliseconds.

    python -m bench.rpc_overhead [--calls 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import grpc.aio
from bench.bare import CAPABILITIES, child, until_told_to_stop

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

    offered = frozenset(map(ControllerCapability, CAPABILITIES))
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
        pids = {
            "bare": children.enter_context(child("bench.bare", f"{folder}/bare.sock")),
            "moorage": children.enter_context(child("bench.rpc_overhead", "--serve", f"{folder}/moorage.sock")),
        }
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
    parser.add_argument("--serve", metavar="SOCKET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve_moorage(options.serve))
    else:
        asyncio.run(measure(options.calls, options.rounds))


if __name__ == "__main__":
    main()
