from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.exchanges import exchange

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import Volume
from moorage.verify.canaries import LogTail, leak_in, token_of

VALUE = "canary0123"
DELETE = m.DeleteVolumeRequest("v")


def test_a_canary_is_found_in_messages_and_in_responses() -> None:
    clean = exchange(DELETE, m.DeleteVolumeResponse())
    in_message = exchange(DELETE, code=Code.INTERNAL, message=f"login with {VALUE} failed")
    made = m.CreateVolumeResponse(Volume("v", volume_context={"password": VALUE}))
    in_context = exchange(m.CreateVolumeRequest("v", ()), made)
    assert leak_in([clean, in_message], VALUE) is in_message
    assert leak_in([clean, in_context], VALUE) is in_context
    assert leak_in([clean], VALUE) is None


def test_the_log_is_read_from_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(f"old {VALUE}\n")
    log = LogTail(path)
    assert log.line_with(VALUE) == ""
    with path.open("a") as file:
        file.write(f"fine\nnew {VALUE} here\n")
    assert log.line_with(VALUE) == "new <canary> here"


def test_a_log_that_was_rotated_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a long line from before\n" * 10)
    log = LogTail(path)
    path.write_text(f"{VALUE}\n")
    assert log.line_with(VALUE) == "<canary>"


def test_whether_a_log_grew_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    log = LogTail(path)
    assert not log.grew()
    with path.open("a") as file:
        file.write("new\n")
    assert log.grew()


def test_a_log_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogTail(tmp_path / "log").line_with(VALUE)


def test_a_token_looks_as_kubernetes_sends_it() -> None:
    (audience,) = json.loads(token_of(VALUE)).values()
    assert audience["token"] == VALUE
    assert audience["expirationTimestamp"].endswith("Z")
