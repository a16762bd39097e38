"""Planted secrets turn up nowhere: not in logs at debug level, not in statuses, not in metrics.

Every field with the `csi_secret` option is filled, and so are mount flags and Kubernetes' tokens; the handlers then
do everything careless that a driver can do with them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from moorage.base.log import get_logger
from moorage.base.metrics import PLUGIN_OPERATIONS, SIDECAR_OPERATIONS, Metrics
from moorage.rpc.client import Client
from moorage.rpc.observation import observe_in
from moorage.spec.convert import from_proto
from moorage.spec.errors import CsiError, FailedPrecondition, Internal
from moorage.spec.rules import RPCS, Rpc
from moorage.spec.types import AccessMode, CapacityRange, MountAccess, Secrets, VolumeCapability

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]

CANARY = "canary-7f3a9-s3cr3t"
FLAG = "flag-canary-51d0"
TOKEN = "token-canary-88e2"
CONFIGURED = "config-canary-0b9c"
"""A secret that came with no request, so that no scrubber can know it; only exceptions quote it."""
PLANTED = (CANARY, FLAG, TOKEN, CONFIGURED, base64.b64encode(CANARY.encode()).decode())
CAPABILITY = VolumeCapability(
    access_mode=AccessMode.SINGLE_NODE_WRITER,
    access_type=MountAccess(fs_type="ext4", mount_flags=(f"password={FLAG}", "ro")),
)
SUITABLE: dict[str, Any] = {
    "volume_capability": CAPABILITY,
    "volume_capabilities": (CAPABILITY,),
    "capacity_range": CapacityRange(required_bytes=1),
    "mutable_parameters": {"iops": "1"},
    "volume_context": {
        "csi.storage.k8s.io/serviceAccount.tokens": json.dumps({"aud": {"token": TOKEN, "expirationTimestamp": ""}})
    },
    "source_volume_ids": ("v1",),
    "snapshot_ids": ("s1",),
}
RPCS_WITH_SECRETS = [rpc for rpc in RPCS.values() if rpc.secret_fields]


def loaded_request(rpc: Rpc) -> msgspec.Struct:
    """A valid request with a secret wherever one can be."""
    request = from_proto(rpc.request_proto())
    values: dict[str, Any] = {
        field: f"/{field}" if field.endswith("_path") else f"some-{field}"
        for field in (*rpc.required, "name")
        if field in request.__struct_fields__ and field not in SUITABLE
    }
    values |= {field: value for field, value in SUITABLE.items() if field in request.__struct_fields__}
    values |= {field: Secrets(password=CANARY, note=f"a\n{CANARY}\nb") for field in rpc.secret_fields}
    if rpc.name == "NodePublishVolume":
        values["staging_target_path"] = "/staging"
    return msgspec.structs.replace(request, **values)


def text_of(request: Any) -> str:
    flags = getattr(request, "volume_capability", None) or CAPABILITY
    tokens = getattr(request, "volume_context", {}) or {}
    secrets = next(getattr(request, name) for name in request.__struct_fields__ if name == "secrets")
    shown = f"login with {dict(secrets)} {base64.b64encode(secrets['password'].encode()).decode()}"
    if hasattr(request, "volume_capability") or hasattr(request, "volume_capabilities"):
        shown += f" mount -o {','.join(flags.mount.mount_flags)}"
    return f"{shown} tokens {dict(tokens)}"


def careless(how: str) -> Callable[[Any], Any]:
    """A handler that tells everybody what it was given."""

    async def handler(request: Any) -> Any:
        text = text_of(request)
        get_logger("driver").info("driver.login", detail=text, argv=["login", text], request=request)
        logging.getLogger("vendor.sdk").warning("POST %s", text)
        if how == "csi-error":
            raise FailedPrecondition(f"cannot: {text}")
        if how == "defect":
            try:
                raise KeyError(text)
            except KeyError as error:
                raise RuntimeError(f"boom {text} {CONFIGURED}") from error
        if how == "group":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_fail(text))
                tasks.create_task(_fail(text))
        return text  # a response of the wrong class

    return handler


async def _fail(text: str) -> None:
    raise OSError(f"{text} {CONFIGURED}")


def streaming(handler: Callable[[Any], Any]) -> Callable[[Any], AsyncIterator[Any]]:
    async def stream(request: Any) -> AsyncIterator[Any]:
        yield await handler(request)

    return stream


def test_there_are_22_requests_with_secrets() -> None:
    """A change of the specification must be seen here."""
    assert len(RPCS_WITH_SECRETS) == 22


@pytest.mark.parametrize("how", ["csi-error", "defect", "group", "bad-response"])
async def test_no_planted_secret_is_seen_anywhere(
    how: str, serve: Serve, log_lines: Callable[[], str], capfd: pytest.CaptureFixture[str]
) -> None:
    server_side, client_side = Metrics(PLUGIN_OPERATIONS), Metrics(SIDECAR_OPERATIONS)
    handlers = {rpc.name: streaming(careless(how)) if rpc.streaming else careless(how) for rpc in RPCS_WITH_SECRETS}
    messages: list[str] = []
    async with serve(
        handlers,
        observe=observe_in(server_side, driver_name="test.moorage.example"),
        client={"observe": observe_in(client_side, driver_name="test.moorage.example")},
    ) as client:
        for rpc in RPCS_WITH_SECRETS:
            request = loaded_request(rpc)
            stream = client.stream(rpc.name, request, rpc.response, timeout_s=10)
            with pytest.raises(CsiError) as caught:
                await (anext(stream) if rpc.streaming else client.call(rpc.name, request, timeout_s=10))
            expected = FailedPrecondition if how == "csi-error" else Internal
            assert type(caught.value) is expected, (rpc.name, caught.value.message)
            messages.append(caught.value.message)
    lines = log_lines()
    captured = capfd.readouterr()
    seen = {
        "logs": lines,
        "messages": "\n".join(messages),
        "metrics": server_side.render().decode() + client_side.render().decode(),
        "stderr": captured.err + captured.out,
    }
    for place, text in seen.items():
        for secret in PLANTED:
            assert secret not in text, f"{secret} is seen in {place}: {_around(text, secret)}"
    # The test would prove nothing if these texts had not been written at all.
    assert lines.count('"event":"driver.login"') == len(RPCS_WITH_SECRETS)
    assert lines.count("vendor.sdk") == len(RPCS_WITH_SECRETS)
    assert lines.count('"event":"rpc.request"') == 2 * len(RPCS_WITH_SECRETS)
    assert "***stripped***" in lines
    if how == "csi-error":
        assert all("cannot: login with" in message for message in messages)


async def test_secrets_of_a_finished_call_are_forgotten(serve: Serve, scrubber: Callable[[str], str]) -> None:
    """A long-lived scrubber must not grow, nor go on to hide words that were once secrets."""
    during: list[str] = []

    async def handler(request: Any) -> Any:
        during.append(scrubber(f"say {CANARY}"))
        raise FailedPrecondition("no")

    rpc = RPCS["DeleteVolume"]
    async with serve({rpc.name: handler}) as client:
        with pytest.raises(FailedPrecondition):
            await client.call(rpc.name, loaded_request(rpc))
    assert during == ["say ***stripped***"]
    assert scrubber(f"say {CANARY}") == f"say {CANARY}"


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 200) : at + 40]
