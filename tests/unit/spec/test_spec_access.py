"""Access modes and second publishes, as the tables of the specification have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from moorage.spec.access import (
    NodePublication,
    SecondPublish,
    is_multi_node,
    is_reader_only,
    same_publish_arguments,
    satisfies,
    second_controller_publish,
    second_publish,
)
from moorage.spec.errors import AlreadyExists, FailedPrecondition
from moorage.spec.messages import ControllerPublishVolumeRequest, NodePublishVolumeRequest
from moorage.spec.types import AccessMode, BlockAccess, MountAccess, Secrets, VolumeCapability

MODES = [mode for mode in AccessMode if mode]
SNW, SNRO, SNSW, SNMW = (
    AccessMode.SINGLE_NODE_WRITER,
    AccessMode.SINGLE_NODE_READER_ONLY,
    AccessMode.SINGLE_NODE_SINGLE_WRITER,
    AccessMode.SINGLE_NODE_MULTI_WRITER,
)
MNRO, MNSW, MNMW = (
    AccessMode.MULTI_NODE_READER_ONLY,
    AccessMode.MULTI_NODE_SINGLE_WRITER,
    AccessMode.MULTI_NODE_MULTI_WRITER,
)


@pytest.mark.parametrize(
    ("given_mode", "gives"),
    [
        (SNRO, {SNRO}),
        (SNW, {SNW, SNRO, SNSW}),
        (SNSW, {SNW, SNRO, SNSW}),
        (SNMW, {SNW, SNRO, SNSW, SNMW}),
        (MNRO, {MNRO, SNRO}),
        (MNSW, {SNW, SNRO, SNSW, SNMW, MNRO, MNSW}),
        (MNMW, set(MODES)),
    ],
    ids=lambda value: value.name if isinstance(value, AccessMode) else "",
)
def test_what_a_mode_gives(given_mode: AccessMode, gives: set[AccessMode]) -> None:
    assert {mode for mode in MODES if satisfies(given_mode, mode)} == gives


@given(st.sampled_from(MODES), st.sampled_from(MODES), st.sampled_from(MODES))
def test_giving_is_an_order(first: AccessMode, second: AccessMode, third: AccessMode) -> None:
    assert satisfies(first, first)
    if satisfies(first, second) and satisfies(second, third):
        assert satisfies(first, third)


def test_unknown_modes_give_themselves_only() -> None:
    newer = AccessMode(42)
    assert satisfies(newer, AccessMode(42))
    assert not satisfies(newer, SNRO)
    assert not satisfies(MNMW, newer)


def test_kinds_of_modes() -> None:
    assert {mode for mode in MODES if is_multi_node(mode)} == {MNRO, MNSW, MNMW}
    assert {mode for mode in MODES if is_reader_only(mode)} == {SNRO, MNRO}


OK, AE, FP = "ok", "already-exists", "failed-precondition"


@pytest.mark.parametrize(
    ("mode", "declared", "same_target_other_arguments", "other_target"),
    [
        (SNW, False, AE, FP), (SNW, True, AE, FP),
        (SNRO, False, AE, FP), (SNRO, True, AE, FP),
        (SNSW, False, AE, FP), (SNSW, True, AE, FP),
        (SNMW, False, AE, FP), (SNMW, True, AE, OK),
        (MNRO, False, AE, OK), (MNRO, True, AE, OK),
        (MNSW, False, AE, OK), (MNSW, True, AE, OK),
        (MNMW, False, AE, OK), (MNMW, True, AE, OK),
    ],
)  # fmt: skip
def test_second_node_publish(
    mode: AccessMode, declared: bool, same_target_other_arguments: SecondPublish, other_target: SecondPublish
) -> None:
    def answer(*, same_target: bool, same_arguments: bool) -> SecondPublish:
        return second_publish(
            mode, same_target=same_target, same_arguments=same_arguments, multi_writer_declared=declared
        )

    assert answer(same_target=True, same_arguments=True) == OK
    assert answer(same_target=True, same_arguments=False) == same_target_other_arguments
    assert answer(same_target=False, same_arguments=True) == other_target
    assert answer(same_target=False, same_arguments=False) == other_target


PUBLISH = NodePublishVolumeRequest(
    volume_id="v",
    target_path="/t",
    volume_capability=VolumeCapability(SNW, MountAccess("ext4", ("noatime",))),
    staging_target_path="/s",
    publish_context={"lun": "1"},
    secrets=Secrets(key="old"),
    volume_context={"pool": "a", "csi.storage.k8s.io/pod.name": "one"},
)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param({}, True, id="replay"),
        pytest.param({"target_path": "/u"}, True, id="target-is-no-argument"),
        pytest.param({"secrets": Secrets(key="new")}, True, id="renewed-secret"),
        pytest.param({"volume_context": {"pool": "a", "csi.storage.k8s.io/pod.name": "two"}}, True, id="another-pod"),
        pytest.param(
            {"volume_context": {"pool": "a", "storage.kubernetes.io/csiProvisionerIdentity": "x"}},
            True,
            id="provisioner-identity",
        ),
        pytest.param({"volume_context": {"pool": "b"}}, False, id="volume-context"),
        pytest.param({"publish_context": {"lun": "2"}}, False, id="publish-context"),
        pytest.param({"readonly": True}, False, id="readonly"),
        pytest.param({"staging_target_path": "/x"}, False, id="staging-path"),
        pytest.param({"volume_capability": VolumeCapability(SNW, BlockAccess())}, False, id="access-type"),
        pytest.param({"volume_capability": VolumeCapability(SNW, MountAccess("ext4"))}, False, id="mount-flags"),
    ],
)
def test_what_counts_as_the_same_publish(change: dict[str, object], same: bool) -> None:
    other = structs.replace(PUBLISH, **change)
    assert same_publish_arguments(PUBLISH, other) is same
    assert same_publish_arguments(other, PUBLISH) is same


def wish(node: str, mode: AccessMode, *, readonly: bool = False) -> ControllerPublishVolumeRequest:
    return ControllerPublishVolumeRequest("v", node, VolumeCapability(mode), readonly)


def test_the_first_controller_publish_has_room() -> None:
    assert second_controller_publish(wish("n1", SNW), []) is None


def test_the_same_publish_again_finds_the_first() -> None:
    there = NodePublication("n1", VolumeCapability(SNW))
    assert second_controller_publish(wish("n1", SNW), [there]) == there


@pytest.mark.parametrize(
    "request_again",
    [
        pytest.param(wish("n1", MNMW), id="other-mode"),
        pytest.param(wish("n1", SNW, readonly=True), id="other-readonly"),
    ],
)
def test_the_same_node_in_another_way_is_refused(request_again: ControllerPublishVolumeRequest) -> None:
    with pytest.raises(AlreadyExists, match="unpublish it from there first"):
        second_controller_publish(request_again, [NodePublication("n1", VolumeCapability(SNW))])


@pytest.mark.parametrize("mode", [SNW, SNRO, SNSW, SNMW])
def test_another_node_is_named_when_the_mode_allows_one(mode: AccessMode) -> None:
    with pytest.raises(FailedPrecondition, match="'n1'"):
        second_controller_publish(wish("n2", mode), [NodePublication("n1", VolumeCapability(mode))])


def test_a_multi_node_wish_does_not_break_an_exclusive_publication() -> None:
    with pytest.raises(FailedPrecondition, match="SINGLE_NODE_WRITER"):
        second_controller_publish(wish("n2", MNMW), [NodePublication("n1", VolumeCapability(SNW))])


@pytest.mark.parametrize("mode", [MNRO, MNSW, MNMW])
def test_multi_node_modes_go_to_several_nodes(mode: AccessMode) -> None:
    there = [NodePublication("n1", VolumeCapability(mode)), NodePublication("n3", VolumeCapability(mode))]
    assert second_controller_publish(wish("n2", mode), there) is None
    assert second_controller_publish(wish("n3", mode), there) == there[1]
