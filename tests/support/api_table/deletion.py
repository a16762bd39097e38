"""Deletion: finalizers, conditions, grace."""

from __future__ import annotations

from tests.support.api_table.case import case
from tests.support.api_table.site import THINGS, Site

from moorage.kube.resource import CONFIG_MAPS, LEASES, PODS, STORAGE_CLASSES

POD = {"automountServiceAccountToken": False, "containers": [{"name": "c", "image": "i"}]}


@case
async def delete_answers_with_a_status_or_the_object(site: Site) -> None:
    made = await site.lease("one")
    answer = await site.delete(LEASES, "one")
    assert (answer.status, answer.tree["kind"], answer.tree["status"]) == (200, "Status", "Success")
    assert answer.tree["details"]["uid"] == made.metadata["uid"]
    name = site.name("class")
    await site.create(STORAGE_CLASSES, {"metadata": {"name": name}, "provisioner": "p"})
    assert (await site.delete(STORAGE_CLASSES, name)).tree["kind"] == "StorageClass"
    assert (await site.delete(STORAGE_CLASSES, name)).refusal == (404, "NotFound")


@case
async def a_finalizer_keeps_a_deleted_object(site: Site) -> None:
    first = await site.lease("one", finalizers=["a/b"])
    answer = await site.delete(LEASES, "one")
    assert answer.status == 200
    assert answer.metadata["deletionTimestamp"].endswith("Z")
    assert answer.metadata["deletionGracePeriodSeconds"] == 0
    assert int(answer.revision) > int(first.revision)
    assert (await site.get(LEASES, "one")).revision == answer.revision


@case
async def deleting_twice_changes_nothing(site: Site) -> None:
    await site.lease("one", finalizers=["a/b"])
    first = await site.delete(LEASES, "one")
    second = await site.delete(LEASES, "one")
    assert (second.status, second.revision) == (200, first.revision)


@case
async def removing_the_last_finalizer_removes_the_object(site: Site) -> None:
    await site.lease("one", finalizers=["a/b", "c/d"])
    await site.delete(LEASES, "one")
    assert (await site.patch(LEASES, "one", {"metadata": {"finalizers": ["c/d"]}})).status == 200
    assert (await site.get(LEASES, "one")).status == 200
    last = await site.patch(LEASES, "one", {"metadata": {"finalizers": None}})
    assert last.status == 200
    assert "finalizers" not in last.metadata
    assert (await site.get(LEASES, "one")).refusal == (404, "NotFound")


@case
async def a_put_can_remove_the_last_finalizer_too(site: Site) -> None:
    await site.thing("one", finalizers=["a/b"])
    deleted = await site.delete(THINGS, "one")
    deleted.metadata["finalizers"] = []
    assert (await site.put(THINGS, "one", deleted.tree)).status == 200
    assert (await site.get(THINGS, "one")).status == 404


@case
async def no_finalizer_can_be_added_during_deletion(site: Site) -> None:
    await site.lease("one", finalizers=["a/b"])
    await site.delete(LEASES, "one")
    answer = await site.patch(LEASES, "one", {"metadata": {"finalizers": ["a/b", "c/d"]}})
    assert (answer.status, answer.cause) == (422, ("FieldValueForbidden", "metadata.finalizers"))
    assert (await site.patch(LEASES, "one", {"metadata": {"labels": {"a": "b"}}})).status == 200


@case
async def deletion_cannot_be_taken_back(site: Site) -> None:
    await site.lease("one", finalizers=["a/b"])
    await site.delete(LEASES, "one")
    answer = await site.patch(LEASES, "one", {"metadata": {"deletionTimestamp": None, "labels": {"a": "b"}}})
    assert answer.metadata["deletionTimestamp"]


@case
async def preconditions_of_a_deletion_must_hold(site: Site) -> None:
    made = await site.lease("one")
    answer = await site.delete(LEASES, "one", preconditions={"uid": "other"})
    assert answer.refusal == (409, "Conflict")
    assert "does not match the UID in record" in answer.tree["message"]
    answer = await site.delete(LEASES, "one", preconditions={"resourceVersion": "1"})
    assert answer.refusal == (409, "Conflict")
    right = {"uid": made.metadata["uid"], "resourceVersion": made.revision}
    assert (await site.delete(LEASES, "one", preconditions=right)).status == 200


@case
async def generation_counts_the_deletion_of_a_custom_object(site: Site) -> None:
    await site.thing("one", finalizers=["a/b"])
    assert (await site.delete(THINGS, "one")).metadata["generation"] == 2


@case
async def foreground_deletion_waits_for_the_garbage_collector(site: Site) -> None:
    await site.lease("one", finalizers=["a/b"])
    answer = await site.delete(LEASES, "one", propagationPolicy="Foreground")
    assert set(answer.metadata["finalizers"]) == {"a/b", "foregroundDeletion"}


@case
async def a_pod_on_a_node_ends_with_grace(site: Site) -> None:
    await site.create(PODS, {"metadata": {"name": "one", "finalizers": ["a/b"]}, "spec": {**POD, "nodeName": "none"}})
    answer = await site.delete(PODS, "one")
    assert answer.metadata["deletionGracePeriodSeconds"] == 30
    answer = await site.delete(PODS, "one", gracePeriodSeconds=0)
    assert answer.metadata["deletionGracePeriodSeconds"] == 0
    await site.patch(PODS, "one", {"metadata": {"finalizers": None}})
    assert (await site.get(PODS, "one")).status == 404


@case
async def a_pod_in_its_grace_goes_when_its_node_says_so(site: Site) -> None:
    await site.create(PODS, {"metadata": {"name": "one"}, "spec": {**POD, "nodeName": "none"}})
    assert (await site.delete(PODS, "one")).metadata["deletionGracePeriodSeconds"] == 30
    labelled = await site.patch(PODS, "one", {"metadata": {"labels": {"a": "b"}}})
    assert labelled.metadata["deletionTimestamp"]
    assert (await site.delete(PODS, "one", gracePeriodSeconds=0)).status == 200
    assert (await site.get(PODS, "one")).status == 404


@case
async def a_pod_without_node_goes_at_once(site: Site) -> None:
    await site.create(PODS, {"metadata": {"name": "one"}, "spec": {**POD, "schedulerName": "nobody"}})
    assert (await site.delete(PODS, "one")).status == 200
    assert (await site.get(PODS, "one")).status == 404


@case
async def delete_all_takes_selectors(site: Site) -> None:
    for name, label in (("one", "x"), ("two", "y"), ("three", "x")):
        await site.config_map(name, labels={"l": label})
    answer = await site.ask("DELETE", CONFIG_MAPS, labelSelector="l=x")
    assert answer.status == 200
    left = await site.ask("GET", CONFIG_MAPS, labelSelector="l")
    assert [item["metadata"]["name"] for item in left.tree["items"]] == ["two"]


@case
async def a_name_used_again_is_another_object(site: Site) -> None:
    first = await site.lease("one")
    await site.delete(LEASES, "one")
    second = await site.lease("one")
    assert second.metadata["uid"] != first.metadata["uid"]
    answer = await site.delete(LEASES, "one", preconditions={"uid": first.metadata["uid"]})
    assert answer.refusal == (409, "Conflict")
