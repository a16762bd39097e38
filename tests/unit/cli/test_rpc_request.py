from __future__ import annotations

from typing import Any

import pytest

from moorage.cli.rpc_flags import Flag, flags_of, parse_capability, parse_map
from moorage.cli.rpc_json import BadRequest, parse_json
from moorage.cli.rpc_request import build_requests
from moorage.cli.rpc_session import parse_secrets
from moorage.spec.rules import RPCS

Given = list[tuple[str, list[str]]]


def build(
    rpc_name: str,
    *positional: str,
    flags: Given | None = None,
    values: dict[str, Any] | None = None,
    secrets: dict[str, str] | None = None,
) -> list[Any]:
    rpc = RPCS[rpc_name]
    known: dict[str, Flag] = {name: flag for flag in flags_of(rpc) for name in flag.names}
    return build_requests(
        rpc,
        values=values or {},
        flags=[(known[name], given) for name, given in flags or []],
        positional=positional,
        secrets=secrets or {},
    )


def one(rpc_name: str, *positional: str, **kwargs: Any) -> Any:
    (request,) = build(rpc_name, *positional, **kwargs)
    return request


def test_a_volume_is_described_by_flags_as_in_csc() -> None:
    request = one(
        "CreateVolume",
        "pvc-1",
        flags=[
            ("--cap", ["SINGLE_NODE_WRITER,mount,ext4,noatime,nodev", "5,block"]),
            ("--req-bytes", ["1Gi"]),
            ("--lim-bytes", ["2147483648"]),
            ("--params", ["kind=fast,zone=a"]),
            ("--source-snapshot", ["snap-1"]),
            ("--requisite", ["zone=a,rack=1", "zone=b"]),
            ("--preferred", ["zone=b"]),
            ("--mount-group", ["1000"]),
        ],
    )
    assert request.name == "pvc-1"
    assert request.capacity_range.required_bytes == 1 << 30
    assert request.capacity_range.limit_bytes == 2 << 30
    first, second = request.volume_capabilities
    assert first.access_mode.mode == 1
    assert first.mount.fs_type == "ext4"
    assert list(first.mount.mount_flags) == ["noatime", "nodev"]
    assert first.mount.volume_mount_group == "1000"
    assert second.access_mode.mode == 5
    assert second.WhichOneof("access_type") == "block"
    assert dict(request.parameters) == {"kind": "fast", "zone": "a"}
    assert request.volume_content_source.snapshot.snapshot_id == "snap-1"
    requisite = [dict(place.segments) for place in request.accessibility_requirements.requisite]
    assert requisite == [{"zone": "a", "rack": "1"}, {"zone": "b"}]


def test_several_ids_make_one_request_each() -> None:
    requests = build("DeleteVolume", "a", "b:c", secrets={"user": "u"})
    assert [request.volume_id for request in requests] == ["a", "b:c"]
    assert all(dict(request.secrets) == {"user": "u"} for request in requests)


def test_flags_win_over_json_and_arguments_over_flags() -> None:
    request = one(
        "NodeStageVolume",
        "from-argument",
        values={"volumeId": "from-json", "stagingTargetPath": "/json", "volume_context": {"a": "1"}},
        flags=[("--staging-target-path", ["/flag"]), ("--vol-context", ["b=2"])],
    )
    assert request.volume_id == "from-argument"
    assert request.staging_target_path == "/flag"
    assert dict(request.volume_context) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        pytest.param("v1:/mnt", ("v1", "/mnt", ""), id="path"),
        pytest.param("v1:/mnt:/stage", ("v1", "/mnt", "/stage"), id="staging"),
        pytest.param("pool:v1:/mnt", ("pool:v1", "/mnt", ""), id="colon-in-id"),
        pytest.param("v1", ("v1", "", ""), id="id-alone"),
    ],
)
def test_stats_take_id_and_paths_in_one_argument(text: str, paths: tuple[str, str, str]) -> None:
    request = one("NodeGetVolumeStats", text)
    assert (request.volume_id, request.volume_path, request.staging_target_path) == paths


def test_expansion_on_the_node_takes_id_and_path() -> None:
    request = one("NodeExpandVolume", "v1", "/mnt", flags=[("--req-bytes", ["1Gi"])])
    assert (request.volume_id, request.volume_path) == ("v1", "/mnt")


def test_a_group_and_a_delta_take_their_ids() -> None:
    group = one("CreateVolumeGroupSnapshot", "g", flags=[("--source-volume", ["a", "b"])])
    assert (group.name, list(group.source_volume_ids)) == ("g", ["a", "b"])
    delta = one("GetMetadataDelta", "base", "target", flags=[("--starting-offset", ["4096"])])
    assert (delta.base_snapshot_id, delta.target_snapshot_id, delta.starting_offset) == ("base", "target", 4096)


@pytest.mark.parametrize("rpc_name", RPCS)
def test_every_field_but_secrets_can_be_given_in_json_in_both_spellings(rpc_name: str) -> None:
    rpc = RPCS[rpc_name]
    for field in rpc.request_proto.DESCRIPTOR.fields:
        values: dict[str, Any] = {}
        for name in (field.name, field.json_name):
            values = {name: None}
            build(rpc_name, values=values)


@pytest.mark.parametrize("rpc_name", RPCS)
def test_every_field_but_names_and_secrets_has_a_flag(rpc_name: str) -> None:
    rpc = RPCS[rpc_name]
    texts = {
        "--req-bytes": "1Gi", "--lim-bytes": "1Gi", "--cap": "1,block", "--params": "a=b",
        "--mutable-params": "a=b", "--vol-context": "a=b", "--pub-context": "a=b", "--requisite": "a=b",
        "--preferred": "a=b", "--topology": "a=b", "--read-only": "true",
    }  # fmt: skip
    filled = set()
    for flag in flags_of(rpc):
        request = one(rpc_name, flags=[(flag.names[0], [texts.get(flag.names[0], "1")])])
        filled |= {field.name for field, _ in request.ListFields()}
    expected = {field.name for field in rpc.request_proto.DESCRIPTOR.fields} - set(rpc.secret_fields)
    if rpc.name in {"CreateVolume", "CreateSnapshot", "CreateVolumeGroupSnapshot"}:
        expected.remove("name")
    assert filled == expected


@pytest.mark.parametrize(
    ("rpc_name", "arguments", "sentence"),
    [
        pytest.param("Probe", {"positional": ["x"]}, "takes no positional arguments", id="argument"),
        pytest.param("NodeExpandVolume", {"positional": ["a", "/b", "c"]}, "'c' is too much", id="too-many"),
        pytest.param("CreateVolume", {"values": {"nam": "x"}}, "has no field 'nam'; its fields are name", id="field"),
        pytest.param(
            "CreateVolume", {"values": {"capacity_range": {"required_bytes": "x"}}},
            "capacity_range.required_bytes has a wrong value", id="type",
        ),
        pytest.param("CreateVolume", {"values": {"capacity_range": {"foo": 1}}}, "foo", id="nested-field"),
        pytest.param("NodeUnpublishVolume", {"secrets": {"a": "b"}}, "takes no secrets", id="secrets"),
        pytest.param("CreateVolume", {"flags": [("--req-bytes", ["1Gx"])]}, "'1Gx' is not a quantity", id="size"),
        pytest.param("ListVolumes", {"flags": [("--max-entries", ["x"])]}, "max_entries must be", id="number"),
        pytest.param("ListVolumes", {"flags": [("--max-entries", ["9" * 20])]}, "max_entries must be", id="range"),
        pytest.param("NodeGetVolumeStats", {"positional": ["a:/b:/c:/d"]}, "ID:PATH[:STAGING]", id="paths"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_in_a_sentence(rpc_name: str, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest) as raised:
        build(rpc_name, *arguments.pop("positional", ()), **arguments)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("value", ["hunter2", {"password": ["hunter2"]}, ["hunter2"]])
def test_no_error_quotes_a_secret(value: object) -> None:
    with pytest.raises(BadRequest) as raised:
        build("CreateVolume", values={"secrets": value})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "kind", "mode", "fs_type", "flags"),
    [
        pytest.param("1,mount", "mount", 1, "", [], id="number-mount"),
        pytest.param("SINGLE_NODE_WRITER,2,", "mount", 1, "", [], id="csc-number-type"),
        pytest.param("multi_node_multi_writer,1", "block", 5, "", [], id="lower-case"),
        pytest.param("6,mount,xfs,ro,noatime", "mount", 6, "xfs", ["ro", "noatime"], id="flags"),
        pytest.param("99,block", "block", 99, "", [], id="a-mode-of-the-future"),
    ],
)
def test_capabilities_in_the_notation_of_csc(text: str, kind: str, mode: int, fs_type: str, flags: list[str]) -> None:
    capability = parse_capability(text)
    assert capability.WhichOneof("access_type") == kind
    assert capability.access_mode.mode == mode
    assert (capability.mount.fs_type, list(capability.mount.mount_flags)) == (fs_type, flags)


@pytest.mark.parametrize("text", ["", "1", "RWO,mount", "1,disk", "1,block,ext4", "mount,1"])
def test_no_capability(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_capability(text)


@pytest.mark.parametrize(
    ("values", "parsed"),
    [
        pytest.param(["a=1,b=2"], {"a": "1", "b": "2"}, id="pairs"),
        pytest.param(["a=1", "b=2"], {"a": "1", "b": "2"}, id="repeated"),
        pytest.param(["list=1,2,3,b=x=y"], {"list": "1,2,3", "b": "x=y"}, id="comma-and-equals-in-value"),
        pytest.param(["a="], {"a": ""}, id="empty-value"),
    ],
)
def test_maps(values: list[str], parsed: dict[str, str]) -> None:
    assert parse_map(values) == parsed


@pytest.mark.parametrize("text", ["", "a", "=b", ",a=b"])
def test_no_map(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_map([text])


@pytest.mark.parametrize(
    "text", ['{"user": "u", "password": "p=q"}', "# comment\nuser=u\n\npassword=p=q\n"], ids=["json", "lines"]
)
def test_secrets_come_as_json_or_lines(text: str) -> None:
    assert parse_secrets(text) == {"user": "u", "password": "p=q"}


@pytest.mark.parametrize("text", ["hunter2", '{"a": hunter2}', '{"a": ["hunter2"]}', "=hunter2"])
def test_a_bad_secrets_file_is_told_without_its_content(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_secrets(text)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("text", ["[]", "x", "", '"a"'])
def test_the_request_must_be_an_object(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_json(text)
