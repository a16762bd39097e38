"""The four kinds of patch."""

from __future__ import annotations

from typing import Any

from tests.support.api_table.case import case
from tests.support.api_table.site import APPLY, STEPS, STRATEGIC, THINGS, Answer, Site

from moorage.kube.resource import CONFIG_MAPS, LEASES, PODS

POD = {
    "automountServiceAccountToken": False,
    "schedulerName": "nobody",
    "containers": [{"name": "c", "image": "i"}],
}


def config(data: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", **metadata}, "data": data}


async def apply(site: Site, manager: str, data: dict[str, str], **query: str) -> Answer:
    return await site.patch(CONFIG_MAPS, "one", config(data), APPLY, fieldManager=manager, **query)


@case
async def merge_sets_removes_and_replaces_lists(site: Site) -> None:
    await site.lease("one", annotations={"a": "1", "b": "2"}, finalizers=["a/a", "b/b"])
    patch = {"metadata": {"annotations": {"a": None, "c": "3"}, "finalizers": ["c/c"]}}
    found = (await site.patch(LEASES, "one", patch)).metadata
    assert found["annotations"] == {"b": "2", "c": "3"}
    assert found["finalizers"] == ["c/c"]
    found = (await site.patch(LEASES, "one", {"metadata": {"annotations": None, "finalizers": []}})).metadata
    assert not {"annotations", "finalizers"} & found.keys()


@case
async def merge_with_a_stale_version_is_a_conflict(site: Site) -> None:
    first = await site.lease("one")
    patch = {"metadata": {"resourceVersion": first.revision, "labels": {"a": "b"}}}
    assert (await site.patch(LEASES, "one", patch)).status == 200
    assert (await site.patch(LEASES, "one", patch)).refusal == (409, "Conflict")


@case
async def merge_with_another_uid_is_invalid(site: Site) -> None:
    first = await site.lease("one")
    assert (await site.patch(LEASES, "one", {"metadata": {"uid": first.metadata["uid"]}})).status == 200
    answer = await site.patch(LEASES, "one", {"metadata": {"uid": "other"}})
    assert (answer.status, answer.cause) == (422, ("FieldValueInvalid", "metadata.uid"))


@case
async def merge_cannot_rename(site: Site) -> None:
    await site.lease("one")
    assert (await site.patch(LEASES, "one", {"metadata": {"name": "two"}})).refusal == (400, "BadRequest")


@case
async def any_patch_of_nothing_is_not_found(site: Site) -> None:
    assert (await site.patch(LEASES, "none", {})).refusal == (404, "NotFound")
    assert (await site.patch(LEASES, "none", [], STEPS)).refusal == (404, "NotFound")
    assert (await site.patch(LEASES, "none", {}, STRATEGIC)).refusal == (404, "NotFound")


@case
async def steps_are_done_in_order(site: Site) -> None:
    await site.lease("one", finalizers=["a/a", "b/b"])
    steps = [
        {"op": "test", "path": "/metadata/finalizers/0", "value": "a/a"},
        {"op": "remove", "path": "/metadata/finalizers/0"},
        {"op": "add", "path": "/metadata/finalizers/-", "value": "c/c"},
        {"op": "add", "path": "/metadata/finalizers/0", "value": "d/d"},
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/x~1y", "value": "1"},
        {"op": "replace", "path": "/spec/holderIdentity", "value": "you"},
    ]
    answer = await site.patch(LEASES, "one", steps, STEPS)
    assert answer.metadata["finalizers"] == ["d/d", "b/b", "c/c"]
    assert answer.metadata["annotations"] == {"x/y": "1"}
    assert answer.tree["spec"]["holderIdentity"] == "you"


@case
async def a_failed_test_changes_nothing(site: Site) -> None:
    first = await site.lease("one")
    steps = [
        {"op": "replace", "path": "/spec/holderIdentity", "value": "you"},
        {"op": "test", "path": "/metadata/uid", "value": "other"},
    ]
    answer = await site.patch(LEASES, "one", steps, STEPS)
    assert answer.refusal == (422, "Invalid")
    assert answer.tree["message"] == "the server rejected our request due to an error in our request"
    assert (await site.get(LEASES, "one")).revision == first.revision


@case
async def steps_need_their_paths(site: Site) -> None:
    await site.lease("one")
    for step in (
        {"op": "remove", "path": "/metadata/annotations/x"},
        {"op": "add", "path": "/metadata/annotations/x", "value": "1"},
        {"op": "replace", "path": "/metadata/annotations/x", "value": "1"},
        {"op": "test", "path": "/metadata/annotations/x", "value": "1"},
        {"op": "test", "path": "/metadata/annotations/x", "value": None},
        {"op": "remove", "path": "/metadata/annotations"},
        {"op": "remove", "path": "/metadata/finalizers/0"},
        {"op": "replace", "path": "/metadata/finalizers/0", "value": "a/a"},
    ):
        answer = await site.patch(LEASES, "one", [step], STEPS)
        assert answer.refusal == (422, "Invalid"), step


@case
async def a_replace_sets_a_key_that_its_object_does_not_have(site: Site) -> None:
    await site.lease("one", annotations={"a": "1"})
    step = {"op": "replace", "path": "/metadata/annotations/x", "value": "1"}
    assert (await site.patch(LEASES, "one", [step], STEPS)).metadata["annotations"] == {"a": "1", "x": "1"}


@case
async def a_test_for_null_holds_for_what_is_absent(site: Site) -> None:
    await site.lease("one")
    steps = [{"op": "test", "path": "/metadata/annotations", "value": None}]
    assert (await site.patch(LEASES, "one", steps, STEPS)).status == 200


@case
async def steps_can_test_the_version(site: Site) -> None:
    first = await site.lease("one")
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": first.revision}
    change = {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}
    assert (await site.patch(LEASES, "one", [test, change], STEPS)).status == 200
    assert (await site.patch(LEASES, "one", [test, change], STEPS)).refusal == (422, "Invalid")


@case
async def malformed_patches_are_bad_requests(site: Site) -> None:
    await site.lease("one")
    assert (await site.patch(LEASES, "one", b"{", STEPS)).refusal == (400, "BadRequest")
    assert (await site.patch(LEASES, "one", {}, STEPS)).refusal == (400, "BadRequest")
    assert (await site.patch(LEASES, "one", b"{", "application/merge-patch+json")).refusal == (400, "BadRequest")
    assert (await site.patch(LEASES, "one", {}, "text/plain")).refusal == (415, "UnsupportedMediaType")


@case
async def strategic_merges_lists_by_their_keys(site: Site) -> None:
    owner = {"apiVersion": "v1", "kind": "X", "name": "n", "uid": "u1"}
    await site.create(PODS, {"metadata": {"name": "one", "finalizers": ["a/a"]}, "spec": POD})
    found = await site.patch(PODS, "one", {"metadata": {"finalizers": ["b/b"], "ownerReferences": [owner]}}, STRATEGIC)
    assert sorted(found.metadata["finalizers"]) == ["a/a", "b/b"]
    second = {**owner, "uid": "u2"}
    found = await site.patch(PODS, "one", {"metadata": {"ownerReferences": [second]}}, STRATEGIC)
    assert {entry["uid"] for entry in found.metadata["ownerReferences"]} == {"u1", "u2"}
    patch = {
        "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a/a", "b/b"],
            "ownerReferences": [{"uid": "u1", "$patch": "delete"}],
        }
    }
    found = await site.patch(PODS, "one", patch, STRATEGIC)
    assert "finalizers" not in found.metadata
    assert [entry["uid"] for entry in found.metadata["ownerReferences"]] == ["u2"]
    await site.delete(PODS, "one", gracePeriodSeconds=0)


@case
async def strategic_is_not_for_custom_kinds(site: Site) -> None:
    await site.thing("one")
    assert (await site.patch(THINGS, "one", {}, STRATEGIC)).refusal == (415, "UnsupportedMediaType")


@case
async def apply_creates_and_owns(site: Site) -> None:
    made = await apply(site, "first", {"x": "1", "y": "1"})
    assert made.status == 201
    assert made.tree["data"] == {"x": "1", "y": "1"}
    entry = made.metadata["managedFields"][0]
    assert (entry["manager"], entry["operation"]) == ("first", "Apply")
    assert entry["fieldsV1"]["f:data"].keys() >= {"f:x", "f:y"}


@case
async def apply_removes_what_it_no_longer_names(site: Site) -> None:
    await apply(site, "first", {"x": "1", "y": "1"})
    assert (await apply(site, "first", {"y": "1"})).tree["data"] == {"y": "1"}


@case
async def apply_over_another_is_a_conflict_unless_forced(site: Site) -> None:
    await apply(site, "first", {"x": "1", "y": "1"})
    answer = await apply(site, "second", {"x": "2"})
    assert answer.refusal == (409, "Conflict")
    assert answer.cause == ("FieldManagerConflict", ".data.x")
    assert answer.tree["message"] == 'Apply failed with 1 conflict: conflict with "first": .data.x'
    assert (await apply(site, "second", {"x": "2"}, force="true")).tree["data"] == {"x": "2", "y": "1"}
    assert (await apply(site, "first", {"z": "3"})).tree["data"] == {"x": "2", "z": "3"}


@case
async def apply_shares_fields_of_the_same_value(site: Site) -> None:
    await apply(site, "first", {"x": "1"})
    assert (await apply(site, "second", {"x": "1"})).status == 200
    assert (await apply(site, "first", {"y": "1"})).tree["data"] == {"x": "1", "y": "1"}


@case
async def apply_conflicts_with_an_update(site: Site) -> None:
    await apply(site, "first", {"x": "1"})
    await site.patch(CONFIG_MAPS, "one", {"data": {"x": "2"}}, fieldManager="editor")
    answer = await apply(site, "first", {"x": "1"})
    assert answer.refusal == (409, "Conflict")
    assert 'conflict with "editor"' in answer.tree["message"]


@case
async def apply_needs_a_manager_and_a_kind(site: Site) -> None:
    answer = await site.patch(CONFIG_MAPS, "one", config({"x": "1"}), APPLY)
    assert (answer.status, answer.cause) == (422, ("FieldValueRequired", "fieldManager"))
    answer = await site.patch(CONFIG_MAPS, "one", {"metadata": {"name": "one"}}, APPLY, fieldManager="m")
    assert answer.refusal == (400, "BadRequest")


@case
async def apply_keeps_finalizers_of_others(site: Site) -> None:
    await site.config_map("one", finalizers=["a/a"])
    body = config({"a": "1"}, finalizers=["b/b"])
    found = await site.patch(CONFIG_MAPS, "one", body, APPLY, fieldManager="first", force="true")
    assert sorted(found.metadata["finalizers"]) == ["a/a", "b/b"]
    found = await site.patch(CONFIG_MAPS, "one", config({"a": "1"}), APPLY, fieldManager="first", force="true")
    assert found.metadata["finalizers"] == ["a/a"]
    await site.patch(CONFIG_MAPS, "one", {"metadata": {"finalizers": None}})
