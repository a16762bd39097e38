from __future__ import annotations

import json
import shlex

import pytest
from tests.support.exchanges import exchange

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import AccessMode, Secrets, Volume, VolumeCapability
from moorage.verify.rule import Failed

CREATE = m.CreateVolumeRequest(
    name="it's", volume_capabilities=(VolumeCapability(access_mode=AccessMode.SINGLE_NODE_WRITER),)
)
MADE = m.CreateVolumeResponse(volume=Volume(volume_id="v"))


def test_a_good_answer_is_read() -> None:
    assert exchange(CREATE, MADE).response(m.CreateVolumeResponse) == MADE


def test_a_refusal_where_success_is_due_fails_with_code_and_text() -> None:
    refused = exchange(CREATE, code=Code.INTERNAL, message="disk\non fire")
    with pytest.raises(Failed, match=r"CreateVolume must succeed here, and answered INTERNAL \(disk on fire\)"):
        refused.response(m.CreateVolumeResponse)


def test_bytes_that_are_no_message_fail_the_rule() -> None:
    with pytest.raises(Failed, match="the answer to CreateVolume cannot be read"):
        exchange(CREATE, bodies=(b"\xff\xff",)).response(m.CreateVolumeResponse)


@pytest.mark.parametrize(
    ("code", "fails"),
    [
        pytest.param(Code.ALREADY_EXISTS, False, id="the-code"),
        pytest.param(Code.ABORTED, False, id="the-other-code"),
        pytest.param(Code.OK, True, id="ok"),
        pytest.param(Code.INTERNAL, True, id="another-code"),
    ],
)
def test_a_refusal_is_demanded_by_code(code: Code, fails: bool) -> None:
    found = exchange(CREATE, MADE, code=code)
    if not fails:
        found.refused(Code.ALREADY_EXISTS, Code.ABORTED, why="the name is taken")
        return
    with pytest.raises(Failed, match="must answer ALREADY_EXISTS or ABORTED, because the name is taken"):
        found.refused(Code.ALREADY_EXISTS, Code.ABORTED, why="the name is taken")


def test_silence_is_told_as_such() -> None:
    late = exchange(CREATE, code=Code.DEADLINE_EXCEEDED, message="Deadline Exceeded", answered=False)
    assert late.described() == "nothing within 0.0 s"
    assert not late.final


def test_the_command_to_repeat_a_call_survives_the_shell() -> None:
    words = shlex.split(exchange(CREATE, MADE).reproduce())
    assert words[:6] == ["moorage", "rpc", "--endpoint", "unix:///run/csi.sock", "Controller", "CreateVolume"]
    assert json.loads(words[7])["name"] == "it's"


def test_secrets_are_in_no_view() -> None:
    request = m.DeleteVolumeRequest(volume_id="v", secrets=Secrets({"key": "hush"}))
    found = exchange(request, m.DeleteVolumeResponse())
    shown = f"{found.request_view()} {found.answer_view()} {found.reproduce()}"
    assert "hush" not in shown
    assert "--secrets-file" in found.reproduce()
