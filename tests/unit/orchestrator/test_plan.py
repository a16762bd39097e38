"""The order of calls, as a table: from a state to a wish, for drivers that declare more or less."""

from __future__ import annotations

from functools import partial

import pytest
from tests.unit.orchestrator.setting import BLOCK, MIB, a_volume, declared

from moorage.orchestrator.model import Actual, Mount, Mounted, Presence, VolumeRecord
from moorage.orchestrator.plan import Refused, Step, plan, refuse_unsafe
from moorage.orchestrator.requests import volume_path
from moorage.spec.capabilities import Declared
from moorage.spec.types import VolumeExpansion

FULL = declared("create", "attach", "stage", "expand", node_expands=True)
PRESENT, UNCERTAIN = Presence.PRESENT, Presence.UNCERTAIN
A, B = Mount("/a"), Mount("/b")
AT_A = Mounted("/a")
a_staged_volume = partial(a_volume, created=PRESENT, attached=PRESENT, staged=PRESENT)


def names(volume: VolumeRecord, capabilities: Declared, *, publish_first: bool = False) -> list[str]:
    """The plan as words: RPC names with the path where there is one."""
    steps = plan(volume, capabilities, publish_first=publish_first)
    return [f"{step.rpc} {step.path}".strip() for step in steps]


@pytest.mark.parametrize(
    ("volume", "capabilities", "expected"),
    [
        pytest.param(a_volume(), FULL, ["CreateVolume"], id="create"),
        pytest.param(a_volume(created=PRESENT), FULL, [], id="nothing-to-do"),
        pytest.param(
            a_volume(wanted=(A,)),
            FULL,
            ["CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume /a"],
            id="all-the-way-up",
        ),
        pytest.param(
            a_volume(created=PRESENT, wanted=(A,)),
            declared("create"),
            ["NodePublishVolume /a"],
            id="publish-only-driver",
        ),
        pytest.param(
            a_volume(created=PRESENT, wanted=(A,)),
            declared("create", "stage"),
            ["NodeStageVolume", "NodePublishVolume /a"],
            id="no-attach",
        ),
        pytest.param(
            a_volume(created=PRESENT, wanted=(A,)),
            declared("create", "attach"),
            ["ControllerPublishVolume", "NodePublishVolume /a"],
            id="no-stage",
        ),
        pytest.param(a_staged_volume(mounts=(AT_A,), wanted=(A, B)), FULL, ["NodePublishVolume /b"], id="second-mount"),
        pytest.param(
            a_staged_volume(mounts=(AT_A,), wanted=(B,)),
            FULL,
            ["NodeUnpublishVolume /a", "NodePublishVolume /b"],
            id="move",
        ),
        pytest.param(
            a_staged_volume(mounts=(AT_A,), wanted=(Mount("/a", readonly=True),)),
            FULL,
            ["NodeUnpublishVolume /a", "NodePublishVolume /a"],
            id="becomes-readonly",
        ),
        pytest.param(
            a_staged_volume(mounts=(AT_A,)),
            FULL,
            ["NodeUnpublishVolume /a", "NodeUnstageVolume", "ControllerUnpublishVolume"],
            id="last-mount-goes",
        ),
        pytest.param(
            a_staged_volume(mounts=(AT_A, Mounted("/b")), wanted=(B,)),
            FULL,
            ["NodeUnpublishVolume /a"],
            id="one-mount-stays",
        ),
        pytest.param(a_volume(created=PRESENT, exists=False), FULL, ["DeleteVolume"], id="delete"),
        pytest.param(a_volume(exists=False), FULL, [], id="delete-what-never-was"),
        pytest.param(
            a_volume(created=PRESENT, staged=UNCERTAIN, attached=PRESENT, exists=False),
            FULL,
            ["NodeUnstageVolume", "ControllerUnpublishVolume", "DeleteVolume"],
            id="delete-after-half-an-unmount",
        ),
    ],
)
def test_calls_come_in_the_order_of_the_specification(
    volume: VolumeRecord, capabilities: Declared, expected: list[str]
) -> None:
    assert names(volume, capabilities) == expected


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        pytest.param(
            a_volume(created=PRESENT, attached=UNCERTAIN, wanted=(A,)),
            ["ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume /a"],
            id="attach-is-repeated",
        ),
        pytest.param(
            a_volume(created=PRESENT, attached=PRESENT, staged=UNCERTAIN, wanted=(A,)),
            ["NodeStageVolume", "NodePublishVolume /a"],
            id="stage-is-repeated",
        ),
        pytest.param(
            a_staged_volume(mounts=(Mounted("/a", presence=UNCERTAIN),), wanted=(A,)),
            ["NodePublishVolume /a"],
            id="publish-is-repeated",
        ),
        pytest.param(
            a_staged_volume(mounts=(Mounted("/a", presence=UNCERTAIN),)),
            ["NodeUnpublishVolume /a", "NodeUnstageVolume", "ControllerUnpublishVolume"],
            id="publish-is-undone",
        ),
        pytest.param(
            a_volume(created=PRESENT, attached=UNCERTAIN), ["ControllerUnpublishVolume"], id="attach-is-undone"
        ),
    ],
)
def test_what_is_uncertain_is_repeated_on_the_way_up_and_undone_on_the_way_down(
    volume: VolumeRecord, expected: list[str]
) -> None:
    assert names(volume, FULL) == expected


def test_deleting_a_volume_of_unknown_id_asks_for_its_id_first() -> None:
    unknown = VolumeRecord(
        name="data",
        driver="memory",
        request_name="data-1",
        capability=BLOCK,
        desired=a_volume(exists=False).desired,
        actual=Actual(created=UNCERTAIN),
    )
    assert names(unknown, FULL) == ["CreateVolume", "DeleteVolume"]


def test_publishing_first_leaves_the_old_place_last() -> None:
    volume = a_staged_volume(mounts=(AT_A,), wanted=(B,))
    assert names(volume, FULL, publish_first=True) == ["NodePublishVolume /b", "NodeUnpublishVolume /a"]


def test_publishing_first_still_clears_a_path_before_it_is_used_again() -> None:
    volume = a_staged_volume(mounts=(AT_A,), wanted=(Mount("/a", readonly=True),))
    assert names(volume, FULL, publish_first=True) == ["NodeUnpublishVolume /a", "NodePublishVolume /a"]


@pytest.mark.parametrize(
    ("volume", "capabilities", "expected"),
    [
        pytest.param(
            a_staged_volume(mounts=(AT_A,), wanted=(A,), size_bytes=128 * MIB),
            FULL,
            [Step("ControllerExpandVolume", size_bytes=128 * MIB)],
            id="controller-first",
        ),
        pytest.param(
            a_staged_volume(mounts=(AT_A,), wanted=(A,), node_expansion_bytes=128 * MIB),
            FULL,
            [Step("NodeExpandVolume", size_bytes=128 * MIB)],
            id="then-the-node",
        ),
        pytest.param(a_volume(created=PRESENT, node_expansion_bytes=128 * MIB), FULL, [], id="node-waits-for-a-mount"),
        pytest.param(
            a_staged_volume(wanted=(A,), node_expansion_bytes=128 * MIB),
            FULL,
            [Step("NodeExpandVolume", size_bytes=128 * MIB), Step("NodePublishVolume", path="/a")],
            id="staged-is-grown-before-publishing",
        ),
        pytest.param(
            a_volume(created=PRESENT, wanted=(A,), node_expansion_bytes=128 * MIB),
            declared("create", "expand", node_expands=True),
            [Step("NodePublishVolume", path="/a"), Step("NodeExpandVolume", size_bytes=128 * MIB)],
            id="unstaged-is-grown-after-publishing",
        ),
        pytest.param(
            a_volume(created=PRESENT, mounts=(AT_A,), wanted=(A,), size_bytes=128 * MIB),
            declared("create", node_expands=True),
            [Step("NodeExpandVolume", size_bytes=128 * MIB)],
            id="node-alone",
        ),
        pytest.param(a_volume(created=PRESENT, size_bytes=64 * MIB), FULL, [], id="already-that-large"),
        pytest.param(
            a_volume(created=PRESENT, size_bytes=128 * MIB),
            declared("create", "expand", expansion=VolumeExpansion.OFFLINE),
            [Step("ControllerExpandVolume", size_bytes=128 * MIB)],
            id="offline",
        ),
    ],
)
def test_expansion_goes_through_controller_and_node(
    volume: VolumeRecord, capabilities: Declared, expected: list[Step]
) -> None:
    assert list(plan(volume, capabilities)) == expected


@pytest.mark.parametrize(
    ("volume", "capabilities", "says"),
    [
        pytest.param(
            a_staged_volume(mounts=(AT_A,), exists=False), FULL, "mounted at /a.*unmount data", id="delete-mounted"
        ),
        pytest.param(
            a_volume(created=PRESENT, wanted=(A,), exists=False), FULL, "mounted at /a", id="delete-while-wanted"
        ),
        pytest.param(
            a_staged_volume(mounts=(Mounted("/a", presence=UNCERTAIN),), exists=False),
            FULL,
            "mounted at /a",
            id="delete-maybe-mounted",
        ),
        pytest.param(
            a_staged_volume(mounts=(AT_A,), wanted=(A,), size_bytes=128 * MIB),
            declared("create", "expand", "stage", expansion=VolumeExpansion.OFFLINE),
            "only while they are unmounted",
            id="offline-expansion-of-a-mounted-volume",
        ),
        pytest.param(
            a_volume(created=PRESENT, size_bytes=128 * MIB), declared("create"), "cannot expand", id="no-expansion"
        ),
        pytest.param(
            a_volume(created=PRESENT, size_bytes=128 * MIB),
            declared("create", node_expands=True),
            "on the node only",
            id="node-expansion-of-an-unmounted-volume",
        ),
        pytest.param(a_volume(), declared(), "moorage volume import data", id="create-without-capability"),
        pytest.param(
            a_volume(created=PRESENT, exists=False), declared(), "cannot delete", id="delete-without-capability"
        ),
        pytest.param(
            a_volume(created=UNCERTAIN, wanted=(A,)), FULL, "deletion .* not finished", id="use-after-half-a-delete"
        ),
    ],
)
def test_what_is_unsafe_or_not_offered_is_refused_with_a_sentence(
    volume: VolumeRecord, capabilities: Declared, says: str
) -> None:
    with pytest.raises(Refused, match=says) as caught:
        plan(volume, capabilities)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rpc", "volume"),
    [
        pytest.param("DeleteVolume", a_staged_volume(mounts=(AT_A,)), id="delete-published"),
        pytest.param("DeleteVolume", a_volume(created=PRESENT, staged=UNCERTAIN), id="delete-staged"),
        pytest.param("DeleteVolume", a_volume(created=PRESENT, attached=PRESENT), id="delete-attached"),
        pytest.param("NodeUnstageVolume", a_staged_volume(mounts=(AT_A,)), id="unstage-published"),
        pytest.param("ControllerUnpublishVolume", a_staged_volume(mounts=(AT_A,)), id="detach-published"),
        pytest.param("ControllerUnpublishVolume", a_staged_volume(), id="detach-staged"),
        pytest.param("NodeStageVolume", a_volume(created=PRESENT, attached=UNCERTAIN), id="stage-unattached"),
        pytest.param("NodePublishVolume", a_volume(created=PRESENT), id="publish-unattached"),
        pytest.param(
            "NodePublishVolume", a_volume(created=PRESENT, attached=PRESENT, staged=UNCERTAIN), id="publish-unstaged"
        ),
    ],
)
def test_a_single_step_out_of_order_is_refused(rpc: str, volume: VolumeRecord) -> None:
    with pytest.raises(Refused, match="volume 'data'"):
        refuse_unsafe(volume, Step(rpc, path="/a"), FULL)


@pytest.mark.parametrize(
    ("volume", "capabilities", "path"),
    [
        pytest.param(a_staged_volume(mounts=(AT_A,)), FULL, "/staging/data", id="staged-file-system"),
        pytest.param(a_staged_volume(mounts=(AT_A,), capability=BLOCK), FULL, "/a", id="published-block"),
        pytest.param(a_staged_volume(capability=BLOCK), FULL, "/staging/data", id="staged-block"),
        pytest.param(
            a_volume(created=PRESENT, mounts=(Mounted("/ro", readonly=True), AT_A)),
            declared("create"),
            "/a",
            id="writable-place-preferred",
        ),
    ],
)
def test_node_expansion_is_told_where_the_volume_is(volume: VolumeRecord, capabilities: Declared, path: str) -> None:
    assert volume_path(volume, capabilities) == path
