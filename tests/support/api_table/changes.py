"""Creating and replacing objects: what the server fills in, keeps and refuses."""

from __future__ import annotations

import asyncio

from tests.support.api_table.case import case
from tests.support.api_table.site import STEPS, THINGS, Site

from moorage.kube.resource import (
    CONFIG_MAPS,
    CSI_STORAGE_CAPACITIES,
    EVENTS,
    LEASES,
    NAMESPACES,
)


@case
async def create_sets_what_the_server_owns(site: Site) -> None:
    answer = await site.lease("one")
    found = answer.metadata
    assert found["namespace"] == site.namespace
    assert len(found["uid"]) == 36
    assert found["resourceVersion"].isdigit()
    assert found["creationTimestamp"].endswith("Z")
    assert [entry["operation"] for entry in found["managedFields"]] == ["Update"]
    assert "generation" not in found


@case
async def create_twice_is_already_exists(site: Site) -> None:
    await site.lease("one")
    again = await site.ask("POST", LEASES, body={"metadata": {"name": "one"}, "spec": {}})
    assert again.refusal == (409, "AlreadyExists")
    assert again.tree["message"] == 'leases.coordination.k8s.io "one" already exists'


@case
async def create_ignores_uid_and_deletion_of_the_sender(site: Site) -> None:
    answer = await site.lease("one", uid="mine", deletionTimestamp="2020-01-01T00:00:00Z")
    assert answer.metadata["uid"] != "mine"
    assert "deletionTimestamp" not in answer.metadata


@case
async def create_with_resource_version_fails(site: Site) -> None:
    body = {"metadata": {"name": "one", "resourceVersion": "5"}, "data": {}}
    answer = await site.ask("POST", CONFIG_MAPS, body=body)
    assert answer.status == 500
    assert answer.tree["message"] == "resourceVersion should not be set on objects to be created"


@case
async def create_in_a_missing_namespace_is_not_found(site: Site) -> None:
    answer = await site.ask("POST", CONFIG_MAPS, body={"metadata": {"name": "one"}}, namespace="no-such-namespace")
    assert answer.refusal == (404, "NotFound")
    assert answer.tree["message"] == 'namespaces "no-such-namespace" not found'


@case
async def create_for_another_namespace_is_a_bad_request(site: Site) -> None:
    answer = await site.ask("POST", CONFIG_MAPS, body={"metadata": {"name": "one", "namespace": "default"}})
    assert answer.refusal == (400, "BadRequest")


@case
async def create_of_another_kind_is_a_bad_request(site: Site) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}}
    assert (await site.ask("POST", CONFIG_MAPS, body=body)).refusal == (400, "BadRequest")


@case
async def create_without_kind_works_for_the_servers_own_kinds_only(site: Site) -> None:
    assert (await site.ask("POST", CONFIG_MAPS, body={"metadata": {"name": "one"}})).status == 201
    await site.define_things()
    assert (await site.ask("POST", THINGS, body={"metadata": {"name": "one"}})).refusal == (400, "BadRequest")


@case
async def create_of_no_json_is_a_bad_request(site: Site) -> None:
    assert (await site.ask("POST", CONFIG_MAPS, body=b"{bad")).refusal == (400, "BadRequest")


@case
async def create_without_a_name_is_invalid(site: Site) -> None:
    answer = await site.ask("POST", CONFIG_MAPS, body={"metadata": {}})
    assert answer.refusal == (422, "Invalid")
    assert answer.cause == ("FieldValueRequired", "metadata.name")


@case
async def create_with_a_bad_name_is_invalid_where_the_kind_is_served(site: Site) -> None:
    body = {"metadata": {"name": "%123"}, "storageClassName": "x"}
    answer = await site.ask("POST", CSI_STORAGE_CAPACITIES, body=body)
    assert answer.refusal == (422, "Invalid")
    assert answer.cause == ("FieldValueInvalid", "metadata.name")
    answer = await site.ask("POST", CSI_STORAGE_CAPACITIES.at("v1beta9"), body=body)
    assert answer.status == 404


@case
async def create_with_bad_labels_annotations_or_finalizers_is_invalid(site: Site) -> None:
    answer = await site.ask("POST", CONFIG_MAPS, body={"metadata": {"name": "one", "labels": {"a": "b c"}}})
    assert answer.cause == ("FieldValueInvalid", "metadata.labels")
    answer = await site.ask("POST", CONFIG_MAPS, body={"metadata": {"name": "one", "annotations": {"a~b": ""}}})
    assert answer.cause == ("FieldValueInvalid", "metadata.annotations")
    answer = await site.ask("POST", CONFIG_MAPS, body={"metadata": {"name": "one", "finalizers": ["plain"]}})
    assert answer.cause == ("FieldValueInvalid", "metadata.finalizers[0]")


@case
async def generate_name_appends_five_letters(site: Site) -> None:
    first = await site.create(CONFIG_MAPS, {"metadata": {"generateName": "base-"}})
    second = await site.create(CONFIG_MAPS, {"metadata": {"generateName": "base-"}})
    names = [answer.metadata["name"] for answer in (first, second)]
    assert len(set(names)) == 2
    assert all(name.startswith("base-") and len(name) == len("base-") + 5 for name in names)
    assert first.metadata["generateName"] == "base-"


@case
async def dry_run_stores_nothing(site: Site) -> None:
    await site.create(CONFIG_MAPS, {"metadata": {"name": "one"}}, dryRun="All")
    assert (await site.get(CONFIG_MAPS, "one")).status == 404
    assert (await site.ask("POST", CONFIG_MAPS, body={"metadata": {"name": "x"}}, dryRun="Some")).status == 422


@case
async def micro_times_need_six_digits(site: Site) -> None:
    for time, status in (("2026-01-01T00:00:00Z", 400), ("2026-01-01T00:00:00.5Z", 400)):
        body = {"metadata": {"name": "one"}, "spec": {"renewTime": time}}
        assert (await site.ask("POST", LEASES, body=body)).status == status
    good = {"metadata": {"name": "one"}, "spec": {"renewTime": "2026-01-01T00:00:00.500000Z"}}
    assert (await site.create(LEASES, good)).tree["spec"]["renewTime"] == "2026-01-01T00:00:00.500000Z"


@case
async def replace_with_a_stale_version_is_a_conflict(site: Site) -> None:
    first = await site.lease("one")
    fresh = {**first.tree, "spec": {"holderIdentity": "you"}}
    assert (await site.put(LEASES, "one", fresh)).status == 200
    stale = await site.put(LEASES, "one", fresh)
    assert stale.refusal == (409, "Conflict")
    assert "the object has been modified" in stale.tree["message"]


@case
async def replace_without_a_version_depends_on_the_kind(site: Site) -> None:
    await site.config_map("one")
    assert (await site.put(CONFIG_MAPS, "one", {"metadata": {"name": "one"}, "data": {"b": "2"}})).status == 200
    await site.lease("one")
    answer = await site.put(LEASES, "one", {"metadata": {"name": "one"}, "spec": {}})
    assert answer.refusal == (422, "Invalid")
    assert answer.cause == ("FieldValueInvalid", "metadata.resourceVersion")
    await site.thing("one")
    assert (await site.put(THINGS, "one", {"metadata": {"name": "one"}})).refusal == (422, "Invalid")


@case
async def replace_of_nothing_is_not_found_but_creates_a_lease(site: Site) -> None:
    assert (await site.put(CONFIG_MAPS, "one", {"metadata": {"name": "one"}})).refusal == (404, "NotFound")
    assert (await site.put(LEASES, "one", {"metadata": {"name": "one"}, "spec": {}})).status == 201


@case
async def replace_with_another_uid_is_a_conflict(site: Site) -> None:
    await site.config_map("one")
    answer = await site.put(CONFIG_MAPS, "one", {"metadata": {"name": "one", "uid": "other"}})
    assert answer.refusal == (409, "Conflict")
    assert "Precondition failed: UID in precondition: other" in answer.tree["message"]


@case
async def replace_under_another_name_is_a_bad_request(site: Site) -> None:
    await site.config_map("one")
    assert (await site.put(CONFIG_MAPS, "one", {"metadata": {"name": "two"}})).refusal == (400, "BadRequest")


@case
async def a_change_that_changes_nothing_keeps_the_version(site: Site) -> None:
    first = await site.config_map("one")
    again = await site.put(CONFIG_MAPS, "one", {"metadata": {"name": "one"}, "data": {"a": "1"}})
    assert (again.status, again.revision) == (200, first.revision)
    assert (await site.patch(CONFIG_MAPS, "one", {"data": {"a": "1"}})).revision == first.revision


@case
async def versions_grow_across_kinds(site: Site) -> None:
    revisions = [
        int((await site.config_map("one")).revision),
        int((await site.lease("one")).revision),
        int((await site.patch(CONFIG_MAPS, "one", {"data": {"a": "2"}})).revision),
    ]
    assert revisions == sorted(set(revisions))


@case
async def the_main_resource_leaves_status_alone(site: Site) -> None:
    first = await site.thing("one")
    assert "status" not in first.tree
    changed = await site.patch(THINGS, "one", {"spec": {"a": 2}, "status": {"s": 2}})
    assert changed.tree["spec"] == {"a": 2}
    assert "status" not in changed.tree


@case
async def the_status_of_a_custom_kind_takes_status_only(site: Site) -> None:
    await site.thing("one")
    patch = {
        "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["a/b"]},
        "spec": {"a": 3},
        "status": {"s": 3},
    }
    changed = await site.patch(THINGS, "one", patch, subresource="status")
    assert changed.tree["spec"] == {"a": 1}
    assert changed.tree["status"] == {"s": 3}
    assert not {"labels", "annotations", "finalizers"} & changed.metadata.keys()
    assert changed.metadata["managedFields"][-1]["subresource"] == "status"


@case
async def a_status_written_from_a_stale_version_is_a_conflict(site: Site) -> None:
    first = await site.thing("one")
    patch = {"metadata": {"resourceVersion": first.revision}, "status": {"s": 1}}
    assert (await site.patch(THINGS, "one", patch, subresource="status")).status == 200
    assert (await site.patch(THINGS, "one", patch, subresource="status")).refusal == (409, "Conflict")
    stale = {**first.tree, "status": {"s": 2}}
    assert (await site.put(THINGS, "one", stale, subresource="status")).refusal == (409, "Conflict")
    fresh = await site.get(THINGS, "one")
    written = await site.put(THINGS, "one", {**fresh.tree, "spec": {"a": 9}, "status": {"s": 2}}, subresource="status")
    assert (written.tree["spec"], written.tree["status"]) == ({"a": 1}, {"s": 2})


@case
async def a_status_can_be_written_in_steps(site: Site) -> None:
    await site.thing("one")
    steps = [{"op": "add", "path": "/status", "value": {"s": 1}}, {"op": "add", "path": "/spec/b", "value": 2}]
    written = await site.patch(THINGS, "one", steps, STEPS, subresource="status")
    assert (written.tree["spec"], written.tree["status"]) == ({"a": 1}, {"s": 1})
    missing = [{"op": "test", "path": "/status/t/u", "value": None}]
    assert (await site.patch(THINGS, "one", missing, STEPS, subresource="status")).refusal == (422, "Invalid")


@case
async def the_creation_time_cannot_be_changed(site: Site) -> None:
    first = await site.lease("one")
    patch = {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z", "labels": {"a": "b"}}}
    await site.patch(LEASES, "one", patch)
    assert (await site.get(LEASES, "one")).metadata["creationTimestamp"] == first.metadata["creationTimestamp"]


@case
async def generation_counts_changes_of_the_spec(site: Site) -> None:
    assert (await site.thing("one")).metadata["generation"] == 1
    assert (await site.patch(THINGS, "one", {"spec": {"a": 2}})).metadata["generation"] == 2
    assert (await site.patch(THINGS, "one", {"metadata": {"labels": {"a": "b"}}})).metadata["generation"] == 2
    changed = await site.patch(THINGS, "one", {"status": {"s": 1}}, subresource="status")
    assert changed.metadata["generation"] == 2


@case
async def two_writers_of_one_version_only_one_wins(site: Site) -> None:
    first = await site.lease("one")
    bodies = [{**first.tree, "spec": {"holderIdentity": name}} for name in ("a", "b", "c")]
    answers = await asyncio.gather(*(site.put(LEASES, "one", body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [200, 409, 409]


@case
async def an_event_keeps_its_empty_times(site: Site) -> None:
    about = {"kind": "Pod", "namespace": site.namespace, "name": "x"}
    body = {"metadata": {"name": "one.17"}, "involvedObject": about, "reason": "R", "type": "Normal"}
    made = await site.create(EVENTS, body)
    assert made.tree["eventTime"] is None
    assert made.tree["source"] == {}
    for namespace in ("elsewhere", ""):
        body = {"metadata": {"name": "two"}, "involvedObject": {**about, "namespace": namespace}}
        answer = await site.ask("POST", EVENTS, body=body)
        assert (answer.status, answer.cause) == (422, ("FieldValueInvalid", "involvedObject.namespace"))


@case
async def paths_and_methods_that_are_not_served(site: Site) -> None:
    assert (await site.send("GET", "/api/v1/nopes")).refusal == (404, "NotFound")
    assert (await site.send("GET", "/apis/nope.example/v1/things")).status == 404
    assert (await site.send("PATCH", CONFIG_MAPS.path(site.namespace), body={})).refusal == (405, "MethodNotAllowed")
    answer = await site.ask("PUT", CONFIG_MAPS, "one", body={}, subresource="status")
    assert answer.refusal == (404, "NotFound")
    assert (await site.send("POST", NAMESPACES.path("", site.namespace), body={})).refusal == (405, "MethodNotAllowed")


@case
async def nothing_can_be_created_in_a_namespace_that_ends(site: Site) -> None:
    name = site.name("ending")
    await site.create(NAMESPACES, {"metadata": {"name": name, "finalizers": ["a/b"]}})
    ending = await site.delete(NAMESPACES, name)
    assert ending.tree["status"]["phase"] == "Terminating"
    answer = await site.ask("POST", CONFIG_MAPS, body={"metadata": {"name": "one"}}, namespace=name)
    assert answer.refusal == (403, "Forbidden")
    assert answer.cause == ("NamespaceTerminating", "metadata.namespace")
    await site.patch(NAMESPACES, name, {"metadata": {"finalizers": None}})
