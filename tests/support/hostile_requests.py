"""Requests that no orchestrator would send: each field mostly makes sense, and now and then is anything at all.

Paths that would hurt this machine if they were taken at their word go only with ids of volumes that do not exist.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tests.support.adversary import NODE, OTHER_NODE
from tests.support.playground import MIB, Place, paths_in

from moorage.spec.rules import Rpc

INT64: Final = (1 << 63) - 1
TAKES_PATHS: Final = frozenset({"NodeStageVolume", "NodeUnstageVolume", "NodePublishVolume", "NodeUnpublishVolume"})
NASTY: Final = (
    *("", " ", "/", ".", "..", "../../../../etc/passwd", "a/b", "/etc/passwd", "-rf", "--help", "~", "*", "a\\b"),
    *("$(touch pwned)", "`touch pwned`", "; touch pwned", "| touch pwned", "&& touch pwned", "'\"", "%s%n", "{0}"),
    *("a\nb", "a\r\nb", "\t", "\0", "a\0b", "\x1b[31mred", "\x7f", "\u202egnp.exe", "\ufeff", "\u2028", "null", "-1"),
    *("\U0001f4a3" * 32, "\u00e9" * 64, "x" * 128, "x" * 129, "x" * 256, "x" * 1025, "x" * 5000, "e\u0301", "CON"),
    *("'; DROP TABLE record; --", "true", "0", "9" * 30, "1e9", "0x10", "\u0663", "64Mi", "-64Mi", "NaN"),
)
VALUES: Final = {
    "csi.storage.k8s.io/ephemeral": "true",
    "size": "64Mi",
    "pool": "default",
    "backend": "image",
    "allocation": "reserved",
    "readAheadKiB": "256",
    "uid": "1000",
    "gid": "1000",
    "mode": "0750",
}
MUTABLE: Final = ("allocation", "readAheadKiB", "compression")
KEYS: Final = (
    *VALUES,
    "compression",
    "csi.storage.k8s.io/serviceAccount.tokens",
    "csi.storage.k8s.io/pvc/name",
    "storage.kubernetes.io/csiProvisionerIdentity",
    "topology.local.csi.moorage.dev/node",
)
FLAGS: Final = ("ro", "bind", "remount", "move", "loop", "discard,ro", "size=1", "errors=what", "context=a", "data=x")
FS_TYPES: Final = ("xfs", "btrfs", "ntfs", "../../bin/sh", "-h", "ext4 -F", "EXT4")
GROUPS: Final = ("4294967295", "4294967294", "99999999999", "-1", "root", "\u0663", " 1")
OPTIONAL: Final = frozenset({"volume_content_source", "accessibility_requirements", "accessible_topology"})
NUMBERS: Final = (0, 1, 511, 4096, 64 * MIB, 64 * MIB + 1, 96 * MIB, 1 << 40, INT64 - 511, INT64, -1, -(1 << 63))
COUNTS: Final = (0, 1, 2, (1 << 31) - 1, -1, -(1 << 31))
HARMFUL: Final = (
    "/etc/passwd",
    "/proc/self/mem",
    "/dev/null",
    "/",
    "/proc",
    "/../../etc",
    "relative",
    "./x",
    "",
    "\0",
    "/\n",
)
"""Sent only where nothing can come of them: to RPCs that only look, or with the id of no volume."""


# --- requests ---------------------------------------------------------------------------------------


class Maker:
    """Fills protobuf messages, field by field: mostly with what makes sense, now and then with anything.

    texts: strings of any characters, to be used where a string is wanted.
    """

    def __init__(self, place: Place, rpc: Rpc, *, seed: int, texts: list[str]) -> None:
        self._random = random.Random(seed)
        self._place = place
        self._rpc = rpc
        self._strange = (*NASTY, *texts)
        self._oddity = self._pick((0.01, 0.05, 0.2, 0.5))
        self._real = not self._one_in(8)  # else it names no object that exists

    def request(self) -> Message:
        return self._fill(self._rpc.request_proto())

    def _one_in(self, number: int) -> bool:
        return self._random.randrange(number) == 0

    def _oddly(self) -> bool:
        return bool(self._random.random() < self._oddity)

    def _pick(self, values: Sequence[Any]) -> Any:
        return self._random.choice(values)

    def _fill(self, message: Message) -> Message:
        descriptor = message.DESCRIPTOR
        chosen = {oneof.name: self._pick(list(oneof.fields)) for oneof in descriptor.oneofs if not self._oddly()}
        field: Any
        for field in descriptor.fields:
            oneof = field.containing_oneof
            if oneof is not None and chosen.get(oneof.name) is not field:
                continue
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                self._fill_map(getattr(message, field.name), field.name)
            elif field.is_repeated:
                self._fill_list(getattr(message, field.name), field)
            elif field.message_type is not None:
                if self._one_in(4) if field.name in OPTIONAL else not self._oddly():
                    part = getattr(message, field.name)
                    part.SetInParent()
                    self._fill(part)
            else:
                setattr(message, field.name, self._scalar(field))
        return message

    def _fill_map(self, target: Any, name: str) -> None:
        if self._oddly() and self._one_in(4):
            target.update({f"key{number}": "v" * 100 for number in range(5000)})
        if name == "segments":
            target["topology.local.csi.moorage.dev/node"] = NODE
        for _ in range(self._pick((0, 0, 1)) if not self._oddly() else 2):
            key = self._pick(MUTABLE if name == "mutable_parameters" else KEYS) if not self._oddly() else self._text()
            target[key] = VALUES[key] if key in VALUES and not self._oddly() else self._text()

    def _fill_list(self, target: Any, field: FieldDescriptor) -> None:
        for _ in range(self._pick((0, 1, 2, 3)) if self._oddly() or field.message_type is None else 1):
            if field.message_type is not None:
                self._fill(target.add())
            else:
                target.append(self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> Any:
        if field.enum_type is not None:
            return self._pick((0, 99, -1, (1 << 31) - 1, -(1 << 31)) if self._oddly() else (1, 5, 6, 7, 7, 7))
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._oddly()
            case FieldDescriptor.CPPTYPE_INT32:
                return self._pick(COUNTS)
            case FieldDescriptor.CPPTYPE_INT64:
                return self._pick(NUMBERS) if self._oddly() else 64 * MIB if field.name == "required_bytes" else 0
        return self._string(field.name)

    def _string(self, name: str) -> str:
        place = self._place
        if name.endswith("_path"):
            return self._path(name)
        known = {
            "volume_id": place.volume_ids,
            "source_volume_id": place.volume_ids,
            "source_volume_ids": place.volume_ids,
            "snapshot_id": place.snapshot_ids,
            "snapshot_ids": place.snapshot_ids,
            "base_snapshot_id": place.snapshot_ids,
            "target_snapshot_id": place.snapshot_ids,
            "group_snapshot_id": place.group_ids,
            "node_id": (NODE, OTHER_NODE),
            "fs_type": ("", "", "ext4"),
            "mount_flags": ("noatime",),
            "volume_mount_group": ("", "", "0"),
            "name": tuple(f"new {number}" for number in range(6)),
            "starting_token": ("",),
        }[name]
        if name.endswith(("volume_id", "snapshot_id", "volume_ids", "snapshot_ids")):
            if not self._real:
                return f"no-{self._text()}"
            any_id = (*place.volume_ids, *place.snapshot_ids, *place.group_ids)
            return str(self._pick(any_id) if self._oddly() else self._pick(known))
        odd = {"fs_type": FS_TYPES, "mount_flags": FLAGS, "volume_mount_group": GROUPS}.get(name, self._strange)
        return str(self._pick(known) if not self._oddly() else self._pick(odd if self._one_in(2) else self._strange))

    def _path(self, name: str) -> str:
        """For the volume in use mostly where it is in use; harmful ones only where they can do no harm."""
        harmless = self._rpc.name not in TAKES_PATHS or not self._real
        if harmless and self._oddly():
            return str(self._pick(HARMFUL))
        if self._oddly() or self._one_in(3):
            return str(self._pick(paths_in(self._place.play)))
        usual = "staging" if name == "staging_target_path" else "target"
        return f"{self._place.play}/{usual}-{self._pick((0, 1))}"

    def _text(self) -> str:
        return str(self._pick(self._strange))
