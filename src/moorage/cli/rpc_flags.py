"""The flags of `moorage rpc SERVICE METHOD`, made from the fields of the method's request.

Where csc has a flag for a field, this is its name. This module makes no calls and reads no files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from moorage.base.units import UnitError, parse_bytes
from moorage.cli.rpc_json import BadRequest
from moorage.proto import csi_pb2
from moorage.spec.rules import Rpc


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of a method. `apply` puts the values given (one, unless `multiple`) into the request."""

    names: tuple[str, ...]
    help: str
    apply: Callable[[Any, Sequence[str]], None]
    metavar: str = "TEXT"
    multiple: bool = False
    is_bool: bool = False


def flags_of(rpc: Rpc) -> tuple[Flag, ...]:
    """The flags for the fields of a request. Secrets have none: a command line is visible to all."""
    flags: list[Flag] = []
    for field in rpc.request_proto.DESCRIPTOR.fields:
        if field.name not in rpc.secret_fields and field.name not in _NOT_FLAGS.get(rpc.name, ()):
            flags.extend(_flags_of_field(rpc, field))
    return tuple(flags)


_NOT_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "CreateVolume": ("name",),
    "CreateSnapshot": ("name",),
    "CreateVolumeGroupSnapshot": ("name",),
}
"""Names are given by position only; ids have flags too, because an id may look like one."""

_FLAG_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "readonly": ("--read-only", "--readonly"),
    "parameters": ("--params", "--parameters"),
    "mutable_parameters": ("--mutable-params", "--mutable-parameters"),
    "volume_context": ("--vol-context", "--volume-context"),
    "publish_context": ("--pub-context", "--publish-context"),
    "source_volume_ids": ("--source-volume",),
    "snapshot_ids": ("--snapshot-id",),
}

_HELP: Final[Mapping[str, str]] = {
    "max_entries": "How many entries a page may have; 0 means all.",
    "starting_token": "Where to go on: the next_token of the page before.",
    "starting_offset": "First byte of the snapshot to tell of.",
    "max_results": "How many ranges one message may have; 0 means any number.",
    "staging_target_path": "Where the volume is staged, or is to be.",
    "target_path": "Where the volume is published, or is to be.",
    "volume_path": "Where the volume is published (or staged).",
    "volume_publish_path": "Where the volume is published.",
    "node_id": "The node, as NodeGetInfo names it.",
    "source_volume_id": "The volume to cut from, or whose snapshots to list.",
    "readonly": "Publish read-only.",
    "volume_id": "The volume, as CreateVolume named it.",
    "snapshot_id": "The snapshot, as CreateSnapshot named it.",
    "base_snapshot_id": "The earlier snapshot.",
    "target_snapshot_id": "The later snapshot, whose changes are told.",
    "group_snapshot_id": "The group, as CreateVolumeGroupSnapshot named it.",
    "source_volume_ids": "A volume to cut.",
    "snapshot_ids": "A member of the group.",
    "parameters": "What the driver is told, as a StorageClass would.",
    "mutable_parameters": "What the driver is told and may be changed later.",
    "volume_context": "As CreateVolume answered it.",
    "publish_context": "As ControllerPublishVolume answered it.",
}


def _flags_of_field(rpc: Rpc, field: Any) -> Iterator[Flag]:
    special = _SPECIAL.get(field.message_type.full_name) if field.message_type is not None else None
    if special is not None:
        yield from special(field)
        return
    names = _FLAG_NAMES.get(field.name, ("--" + field.name.replace("_", "-"),))
    if rpc.name == "CreateSnapshot" and field.name == "source_volume_id":
        names = ("--source-volume", *names)
    text = _HELP.get(field.name, f"Sets {field.name}.")
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        yield Flag(names, text, _set_map(field.name), "KEY=VALUE,...", multiple=True)
    elif field.type == FieldDescriptor.TYPE_BOOL:
        yield Flag(names, text, _set_bool(field.name), is_bool=True)
    elif field.is_repeated:
        yield Flag(names, text + " May be repeated.", _extend(field.name), multiple=True)
    elif field.type == FieldDescriptor.TYPE_STRING:
        yield Flag(names, text, _set_text(field.name))
    else:
        yield Flag(names, text, _set_integer(field.name), "N")


def _set_text(name: str) -> Callable[[Any, Sequence[str]], None]:
    return lambda request, values: setattr(request, name, values[-1])


def _set_bool(name: str) -> Callable[[Any, Sequence[str]], None]:
    return lambda request, values: setattr(request, name, values[-1] == "true")


def _extend(name: str) -> Callable[[Any, Sequence[str]], None]:
    def apply(request: Any, values: Sequence[str]) -> None:
        del getattr(request, name)[:]
        getattr(request, name).extend(values)

    return apply


def _set_map(name: str) -> Callable[[Any, Sequence[str]], None]:
    return lambda request, values: getattr(request, name).update(parse_map(values))


def _set_integer(name: str) -> Callable[[Any, Sequence[str]], None]:
    def apply(request: Any, values: Sequence[str]) -> None:
        try:
            setattr(request, name, int(values[-1]))
        except ValueError:
            raise BadRequest(f"{name} must be a whole number of its range, not {values[-1]!r}") from None

    return apply


def _capacity_flags(field: Any) -> Iterator[Flag]:
    def setter(part: str) -> Callable[[Any, Sequence[str]], None]:
        def apply(request: Any, values: Sequence[str]) -> None:
            try:
                setattr(getattr(request, field.name), part, parse_bytes(values[-1]))
            except UnitError as error:
                raise BadRequest(str(error)) from None

        return apply

    yield Flag(("--req-bytes",), "Least size: bytes, or a quantity such as 10Gi.", setter("required_bytes"), "SIZE")
    yield Flag(("--lim-bytes",), "Largest size: bytes, or a quantity such as 10Gi.", setter("limit_bytes"), "SIZE")


def _capability_flags(field: Any) -> Iterator[Flag]:
    def apply(request: Any, values: Sequence[str]) -> None:
        parsed = [parse_capability(value) for value in values]
        if field.is_repeated:
            del getattr(request, field.name)[:]
            getattr(request, field.name).extend(parsed)
        else:
            getattr(request, field.name).CopyFrom(parsed[-1])

    def group(request: Any, values: Sequence[str]) -> None:
        target = getattr(request, field.name)
        for capability in target if field.is_repeated else (target,):
            if not capability.HasField("block"):
                capability.mount.volume_mount_group = values[-1]

    repeat = " May be repeated." if field.is_repeated else ""
    yield Flag(
        ("--cap",),
        "How the volume is used: access mode by name or number; block, or mount with file system and mount "
        f"flags. Examples: SINGLE_NODE_WRITER,mount,ext4,noatime and 5,block.{repeat}",
        apply,
        "MODE,TYPE[,FSTYPE,FLAGS]",
        multiple=field.is_repeated,
    )
    yield Flag(("--mount-group",), "The group that is to own the mounted volume.", group, "GID")


def _source_flags(field: Any) -> Iterator[Flag]:
    def snapshot(request: Any, values: Sequence[str]) -> None:
        getattr(request, field.name).snapshot.snapshot_id = values[-1]

    def volume(request: Any, values: Sequence[str]) -> None:
        getattr(request, field.name).volume.volume_id = values[-1]

    yield Flag(("--source-snapshot",), "The snapshot to restore.", snapshot, "ID")
    yield Flag(("--source-volume",), "The volume to clone.", volume, "ID")


def _requirement_flags(field: Any) -> Iterator[Flag]:
    def setter(part: str) -> Callable[[Any, Sequence[str]], None]:
        def apply(request: Any, values: Sequence[str]) -> None:
            places = getattr(getattr(request, field.name), part)
            del places[:]
            for value in values:
                places.add().segments.update(parse_map([value]))

        return apply

    for part, text in (
        ("requisite", "A place where it must be reachable"),
        ("preferred", "A preferred place"),
    ):
        yield Flag((f"--{part}",), f"{text}; may be repeated.", setter(part), "KEY=VALUE,...", multiple=True)


def _topology_flags(field: Any) -> Iterator[Flag]:
    def apply(request: Any, values: Sequence[str]) -> None:
        getattr(request, field.name).segments.update(parse_map(values))

    yield Flag(("--topology",), "The place asked about.", apply, "KEY=VALUE,...", multiple=True)


_SPECIAL: Final[Mapping[str, Callable[[Any], Iterator[Flag]]]] = {
    "csi.v1.CapacityRange": _capacity_flags,
    "csi.v1.VolumeCapability": _capability_flags,
    "csi.v1.VolumeContentSource": _source_flags,
    "csi.v1.TopologyRequirement": _requirement_flags,
    "csi.v1.Topology": _topology_flags,
}


def parse_map(values: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE[,KEY=VALUE...]` texts as one map; a comma that no `KEY=` follows belongs to the value."""
    parsed: dict[str, str] = {}
    for value in values:
        for pair in re.split(r",(?=[^,=]+=)", value):
            key, equals, content = pair.partition("=")
            if not equals or not key:
                raise BadRequest(f"{value!r} is not of the form KEY=VALUE,KEY=VALUE")
            parsed[key.strip()] = content
    return parsed


def parse_capability(text: str) -> csi_pb2.VolumeCapability:
    """csc's notation of a capability: `MODE,TYPE[,FSTYPE,FLAG...]`. Raises BadRequest."""
    mode, _, rest = text.partition(",")
    kind, *access = [part.strip() for part in rest.split(",")]
    modes = csi_pb2.VolumeCapability.AccessMode.Mode
    capability = csi_pb2.VolumeCapability()
    if re.fullmatch(r"\d{1,9}", mode):
        number: Any = int(mode)
        capability.access_mode.mode = number
    elif mode.upper() in modes.keys():  # noqa: SIM118 - an EnumTypeWrapper is no dict
        capability.access_mode.mode = modes.Value(mode.upper())
    else:
        raise BadRequest(f"{mode!r} is no access mode; use a number or one of {', '.join(modes.keys())}")
    match kind.lower(), access:
        case ("block" | "1", []):
            capability.block.SetInParent()
        case ("block" | "1", _):
            raise BadRequest(f"{text!r} gives a file system for a block volume; write MODE,block")
        case ("mount" | "2", _):
            capability.mount.fs_type = access[0] if access else ""
            capability.mount.mount_flags.extend(flag for flag in access[1:] if flag)
            capability.mount.SetInParent()
        case _:
            raise BadRequest(f"{text!r} is no capability; write MODE,block or MODE,mount[,FSTYPE,FLAG...]")
    return capability
