"""`moorage rpc` against a peer that answers as the test says: what is sent, what is printed, and exit codes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from moorage.cli.rpc_json import to_json
from moorage.proto import csi_pb2
from moorage.spec.rules import RPCS


async def rpc(box: Any, *arguments: str, stdin: str = "", **extra: str) -> Any:
    return await asyncio.to_thread(box.moorage, "rpc", "-e", box.socket, *arguments, stdin=stdin, **extra)


ALL_CALLS = """
import json, sys
from moorage.cli.app import run

for service, method, values in json.load(open("calls.json")):
    code = run(["rpc", service, method, "--json", json.dumps(values)])
    if code:
        sys.exit(f"{method}: {code}")
"""


async def test_every_rpc_sends_every_field_given_as_json(box: Any, fake: Any) -> None:
    requests: list[Any] = []
    calls = []
    for known in RPCS.values():
        request: Any = known.request_proto()
        names: dict[str, str] = {}
        fields: Any = known.request_proto.DESCRIPTOR.fields
        for index, field in enumerate(fields):
            fill(request, field)
            names[field.name] = field.json_name if index % 2 else field.name
        requests.append(request)
        calls.append((known.service, known.name, {names[key]: value for key, value in to_json(request).items()}))
    (box.path / "calls.json").write_text(json.dumps(calls))
    (box.path / "all.py").write_text(ALL_CALLS)
    process = box.start_script("all.py", CSI_ENDPOINT=f"unix://{box.socket}")
    assert await asyncio.to_thread(process.wait, 50) == 0, box.log()
    assert [path for path, _, _ in fake.calls] == [known.path for known in RPCS.values()]
    for (_, raw, _), request in zip(fake.calls, requests, strict=True):
        assert type(request).FromString(raw) == request


def fill(message: Any, field: Any) -> None:
    """Give a field of any kind some value."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        getattr(message, field.name)["key"] = "value"
    elif kind is not None:
        inner = getattr(message, field.name)
        inner = inner.add() if field.is_repeated else inner
        for below in kind.fields:
            if below.containing_oneof is None or below.name == below.containing_oneof.fields[-1].name:
                fill(inner, below)
        inner.SetInParent()
    elif field.is_repeated:
        getattr(message, field.name).append("text")
    else:
        setattr(message, field.name, "text" if field.cpp_type == field.CPPTYPE_STRING else 1)


async def test_several_ids_make_calls_one_after_the_other_until_one_fails(box: Any, fake: Any) -> None:
    def answer(path: str, raw: bytes, metadata: dict[str, str]) -> Any:
        volume_id = csi_pb2.DeleteVolumeRequest.FromString(raw).volume_id
        return (grpc.StatusCode.FAILED_PRECONDITION, f"{volume_id} is in use") if volume_id == "b" else b""

    fake.answer = answer
    done = await rpc(box, "c", "rm", "a", "b", "c")
    assert done.returncode == 1
    assert done.stdout == "{}\n"
    assert done.stderr == "FAILED_PRECONDITION: b is in use\n"
    assert len(fake.calls) == 2


async def test_secrets_are_sent_and_never_shown(box: Any, fake: Any) -> None:
    (box.path / "secrets").write_text("user=admin\npassword=hunter22\n")

    def answer(path: str, raw: bytes, metadata: dict[str, str]) -> Any:
        if path.endswith("ControllerPublishVolume"):
            return csi_pb2.ControllerPublishVolumeResponse(
                publish_context={"echo": "password is hunter22"}
            ).SerializeToString()
        return grpc.StatusCode.UNAUTHENTICATED, "password hunter22 is wrong"

    fake.answer = answer
    shown = await rpc(
        box, "c", "attach", "v", "--node-id", "n", "--cap", "1,block", "--secrets-file", str(box.path / "secrets"),
        MOORAGE_LOG_LEVEL="debug",
    )  # fmt: skip
    failed = await rpc(box, "c", "rm", "v", X_CSI_SECRETS="password=hunter22", MOORAGE_LOG_LEVEL="debug")
    sent = csi_pb2.ControllerPublishVolumeRequest.FromString(fake.calls[0][1])
    assert dict(sent.secrets) == {"user": "admin", "password": "hunter22"}
    assert dict(csi_pb2.DeleteVolumeRequest.FromString(fake.calls[1][1]).secrets) == {"password": "hunter22"}
    assert (shown.returncode, failed.returncode) == (0, 1)
    assert "UNAUTHENTICATED: " in failed.stderr
    assert "rpc.request" in shown.stderr
    assert "hunter22" not in shown.stdout + shown.stderr + failed.stdout + failed.stderr


async def test_retry_repeats_what_is_not_final(box: Any, fake: Any) -> None:
    fake.answer = lambda path, raw, metadata: (grpc.StatusCode.ABORTED, "busy") if len(fake.calls) < 3 else b""
    once = await rpc(box, "c", "rm", "v")
    assert once.returncode == 1
    assert once.stderr.startswith("ABORTED: busy")
    assert "--retry" in once.stderr
    assert (await rpc(box, "c", "rm", "v", "--retry")).returncode == 0
    assert len(fake.calls) == 3


async def test_paging_follows_the_tokens(box: Any, fake: Any) -> None:
    def answer(path: str, raw: bytes, metadata: dict[str, str]) -> bytes:
        token = csi_pb2.ListVolumesRequest.FromString(raw).starting_token
        page = csi_pb2.ListVolumesResponse(next_token={"": "two", "two": ""}[token])
        page.entries.add().volume.volume_id = f"after-{token}"
        return page.SerializeToString()

    fake.answer = answer
    table = await rpc(box, "-o", "table", "controller", "ls")
    assert "volume.volume_id" in table.stdout
    assert "after-" in table.stdout
    paged = await rpc(box, "c", "ls", "--paging", "-o", "yaml")
    assert [line for line in paged.stdout.splitlines() if "volume_id" in line] == [
        "    volume_id: after-", "    volume_id: after-two",
    ]  # fmt: skip
    assert paged.stdout.count("---\n") == 2


async def test_pages_make_one_table(box: Any, fake: Any) -> None:
    def answer(path: str, raw: bytes, metadata: dict[str, str]) -> bytes | tuple[grpc.StatusCode, str]:
        token = csi_pb2.ListVolumesRequest.FromString(raw).starting_token
        if token == "three":
            return grpc.StatusCode.UNAVAILABLE, "the array went away"
        page = csi_pb2.ListVolumesResponse(next_token={"": "two", "two": last}[token])
        page.entries.add().volume.volume_id = f"after-{token}-{'x' * len(token) * 5}"
        return page.SerializeToString()

    fake.answer = answer
    last = ""
    table = await rpc(box, "c", "ls", "--paging", "-o", "table")
    heading, *rows = table.stdout.splitlines()
    assert "volume.volume_id" in heading
    assert ["after-" in row for row in rows] == [True, True]
    last = "three"
    cut_short = await rpc(box, "c", "ls", "--paging", "-o", "table")
    assert cut_short.returncode == 1
    assert cut_short.stdout == table.stdout
    assert "the array went away" in cut_short.stderr


async def test_a_stream_is_printed_line_by_line(box: Any, fake: Any) -> None:
    part = csi_pb2.GetMetadataAllocatedResponse(volume_capacity_bytes=8192, block_metadata_type=csi_pb2.FIXED_LENGTH)
    part.block_metadata.add(byte_offset=4096, size_bytes=4096)
    fake.answer = lambda path, raw, metadata: [part.SerializeToString()] * 2
    done = await rpc(box, "m", "allocated", "snap")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 2
    assert lines[0]["block_metadata"] == [{"byte_offset": 4096, "size_bytes": 4096}]


async def test_metadata_and_timeout_reach_the_driver(box: Any, fake: Any) -> None:
    done = await rpc(box, "-m", "tenant=a,trace=1", "identity", "probe", "-m", "more=2")
    assert done.returncode == 0
    assert {"tenant": "a", "trace": "1", "more": "2"}.items() <= fake.calls[0][2].items()


async def test_check_tells_what_the_specification_forbids(box: Any, fake: Any) -> None:
    fake.answer = lambda path, raw, metadata: csi_pb2.GetPluginInfoResponse(name="bad name!").SerializeToString()
    done = await rpc(box, "i", "info", "--check")
    assert done.returncode == 1
    assert json.loads(done.stdout)["name"] == "bad name!"
    assert "GetPluginInfo: " in done.stderr


async def test_a_peer_that_is_no_csi_driver_is_named(box: Any, fake: Any) -> None:
    fake.answer = lambda path, raw, metadata: (grpc.StatusCode.UNIMPLEMENTED, "unknown service")
    done = await rpc(box, "c", "ls")
    assert done.returncode == 1
    assert "does not serve csi.v1.Identity" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        pytest.param(["c", "rm", "v"], 1, "UNAVAILABLE: socket", id="no-socket"),
        pytest.param(["c", "nothing"], 2, "no such command 'nothing'", id="method"),
        pytest.param(["x"], 2, "no such command 'x'", id="service"),
        pytest.param(["c", "new", "v", "--json", "{"], 2, "is not valid JSON", id="json"),
        pytest.param(["c", "new", "v", "--json", "@missing"], 2, "file 'missing' cannot be read", id="file"),
        pytest.param(["c", "new", "v", "--cap", "RWO"], 2, "'RWO' is no access mode", id="capability"),
        pytest.param(["-t", "soon", "i", "probe"], 2, "is not a duration", id="timeout"),
        pytest.param(["-m", "Tenant=a", "i", "probe"], 2, "must be a lower-case", id="metadata"),
        pytest.param(["-e", "csi.sock", "i", "probe"], 2, "no absolute path", id="endpoint"),
    ],
)
def test_what_cannot_be_called_is_one_sentence(box: Any, arguments: list[str], code: int, sentence: str) -> None:
    done = box.moorage("rpc", *arguments, CSI_ENDPOINT=f"unix://{box.socket}")
    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_an_endpoint_it_says_how_to_name_one(box: Any) -> None:
    done = box.moorage("rpc", "i", "probe")
    assert done.returncode == 2
    assert "set CSI_ENDPOINT" in done.stderr


def test_rpc_alone_lists_every_method(box: Any) -> None:
    done = box.moorage("rpc")
    assert done.returncode == 0
    for known in RPCS.values():
        assert known.service in done.stdout
    assert "node stage-volume" in done.stdout
