"""The committed stubs are those that the vendored files give, and required fields are read from comments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from tools import gen_proto

ROOT = Path(__file__).resolve().parents[3]


def test_committed_stubs_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "gen_proto.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "up to date" in done.stdout


@pytest.mark.parametrize(
    ("comment", "required"),
    [
        (" This field is REQUIRED.\n", True),
        (" The name.\n This is a REQUIRED field.\n", True),
        (" The suggested name. This field is REQUIRED for\n idempotency.\n", True),
        (" Whether it grew. This field\n is REQUIRED.\n", True),
        (" This field is REQUIRED if the other one is set.\n", False),
        (" This field is OPTIONAL.\n", False),
        (" Secrets required by plugin.\n", False),
    ],
)
def test_only_unconditional_wording_makes_a_field_required(comment: str, required: bool) -> None:
    file = FileDescriptorProto(name="x.proto", package="x")
    outer = file.message_type.add(name="Outer")
    outer.nested_type.add(name="Inner").field.add(name="id", number=1)
    file.source_code_info.location.add(path=[4, 0, 3, 0, 2, 0], leading_comments=comment)
    assert gen_proto.required_fields(file) == ([("x.Outer.Inner", ["id"])] if required else [])
