"""Drivers that tell what they should keep to themselves."""

from __future__ import annotations

import asyncio

from moorage.testing.mutants.mutant import Call, Reply, mutant
from moorage.testing.mutants.place import backend_log


def _log(call: Call, text: str) -> None:
    with backend_log(call).open("a", encoding="utf-8") as log:
        log.write(f"{text}\n")


@mutant("robustness.secrets-not-logged", on=("CreateVolume",))
async def logs_whole_requests(call: Call) -> Reply:
    """Every CreateVolume is written to the log as it came."""
    _log(call, f"GRPC call: /csi.v1.Controller/CreateVolume, secrets {dict(call.request.secrets)}")
    return await call.forward()


@mutant("robustness.secrets-not-answered", on=("ValidateVolumeCapabilities",))
async def quotes_secrets_in_errors(call: Call) -> Reply:
    """The message of a refusal has the command line of the storage system's tool in it."""
    reply = await call.forward()
    if reply.ok or not call.request.secrets:
        return reply
    arguments = " ".join(f"--{key}={value}" for key, value in call.request.secrets.items())
    return reply.with_message(f"storagectl {arguments} failed with status 1")


@mutant("robustness.secrets-not-in-processes", on=("CreateVolume",))
async def passes_secrets_as_arguments(call: Call) -> Reply:
    """CreateVolume runs a program that gets the secrets as arguments."""
    arguments = [f"--{key}={value}" for key, value in call.request.secrets.items()]
    child = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.1", "storagectl", *arguments)
    await child.wait()
    return await call.forward()


@mutant("robustness.mount-flags-not-leaked", on=("NodeStageVolume",))
async def quotes_mount_flags_in_errors(call: Call) -> Reply:
    """The message of a failed mount has its options in it."""
    reply = await call.forward()
    flags = ",".join(call.request.volume_capability.mount.mount_flags) if call.request.volume_capability else ""
    return reply if reply.ok or not flags else reply.with_message(f"mount -o {flags} failed: {reply.message}")


@mutant("robustness.tokens-not-leaked", on=("NodePublishVolume",))
async def logs_the_volume_context(call: Call) -> Reply:
    """NodePublishVolume writes volume_context to the log, with the tokens that Kubernetes puts there."""
    _log(call, f"NodePublishVolume: attributes {dict(call.request.volume_context)}")
    return await call.forward()
