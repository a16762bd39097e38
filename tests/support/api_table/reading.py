"""Get and list: moments, pages, selectors, discovery."""

from __future__ import annotations

from tests.support.api_table.case import case
from tests.support.api_table.site import THINGS, Answer, Site

from moorage.kube.resource import CONFIG_MAPS, EVENTS, LEASES, PERSISTENT_VOLUMES, PODS, Resource

POD = {"automountServiceAccountToken": False, "containers": [{"name": "c", "image": "i"}]}


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.tree
    return [item["metadata"]["name"] for item in answer.tree["items"]]


async def leases(site: Site, *found: str) -> None:
    for name in found:
        await site.lease(name)


@case
async def get_of_nothing_is_not_found(site: Site) -> None:
    answer = await site.get(LEASES, "none")
    assert answer.refusal == (404, "NotFound")
    assert answer.tree["details"] == {"name": "none", "group": "coordination.k8s.io", "kind": "leases"}


@case
async def lists_are_sorted_and_of_one_moment(site: Site) -> None:
    await leases(site, "b", "c")
    last = await site.lease("a")
    answer = await site.ask("GET", LEASES)
    assert names(answer) == ["a", "b", "c"]
    assert int(answer.revision) >= int(last.revision)
    assert (answer.tree["kind"], answer.tree["apiVersion"]) == ("LeaseList", "coordination.k8s.io/v1")


@case
async def items_have_their_kind_only_in_lists_of_custom_kinds(site: Site) -> None:
    await site.lease("one")
    assert "kind" not in (await site.ask("GET", LEASES)).tree["items"][0]
    await site.thing("one")
    item = (await site.ask("GET", THINGS)).tree["items"][0]
    assert (item["kind"], item["apiVersion"]) == ("Thing", "table.moorage.example/v1")


@case
async def an_empty_list_is_a_list(site: Site) -> None:
    answer = await site.ask("GET", LEASES)
    assert answer.tree["items"] == []
    assert answer.revision.isdigit()


@case
async def pages_are_of_the_moment_of_the_first(site: Site) -> None:
    await leases(site, "a", "b", "c", "d")
    first = await site.ask("GET", LEASES, limit="2")
    assert names(first) == ["a", "b"]
    assert first.metadata["remainingItemCount"] == 2
    await site.lease("bb")
    await site.delete(LEASES, "c")
    second = await site.ask("GET", LEASES, **{"limit": "2", "continue": first.metadata["continue"]})
    assert names(second) == ["c", "d"]
    assert second.revision == first.revision
    assert not second.metadata.get("continue")
    assert "remainingItemCount" not in second.metadata


@case
async def pages_of_a_selection_do_not_count_the_rest(site: Site) -> None:
    for name in ("a", "b", "c"):
        await site.lease(name, labels={"l": "x"})
    first = await site.ask("GET", LEASES, limit="2", labelSelector="l=x")
    assert first.metadata["continue"]
    assert "remainingItemCount" not in first.metadata


@case
async def a_bad_continue_token_is_a_bad_request(site: Site) -> None:
    assert (await site.ask("GET", LEASES, **{"continue": "abc"})).refusal == (400, "BadRequest")


@case
async def versions_in_queries_are_checked(site: Site) -> None:
    assert (await site.ask("GET", LEASES, resourceVersion="abc")).refusal == (400, "BadRequest")
    answer = await site.ask("GET", LEASES, resourceVersionMatch="Exact")
    assert (answer.status, answer.cause) == (422, ("FieldValueForbidden", "resourceVersionMatch"))
    answer = await site.ask("GET", LEASES, resourceVersionMatch="Exact", resourceVersion="0")
    assert answer.refusal == (422, "Invalid")


@case
async def a_version_from_the_future_times_out(site: Site) -> None:
    answer = await site.ask("GET", LEASES, resourceVersion="99999999999")
    assert answer.refusal == (504, "Timeout")
    assert answer.tree["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@case
async def an_exact_version_shows_that_moment(site: Site) -> None:
    await leases(site, "a", "b")
    then = (await site.ask("GET", LEASES)).revision
    await site.lease("c")
    await site.delete(LEASES, "a")
    answer = await site.ask("GET", LEASES, resourceVersion=then, resourceVersionMatch="Exact")
    assert names(answer) == ["a", "b"]
    assert answer.revision == then


@case
async def version_zero_is_answered(site: Site) -> None:
    made = await site.lease("one")
    found = await site.until(
        lambda: site.ask("GET", LEASES, resourceVersion="0"), lambda answer: int(answer.revision) >= int(made.revision)
    )
    assert names(found) == ["one"]


@case
async def version_zero_knows_no_pages(site: Site) -> None:
    made = [await site.lease(name) for name in ("a", "b")][-1]
    found = await site.until(
        lambda: site.ask("GET", LEASES, resourceVersion="0", limit="1"),
        lambda answer: int(answer.revision) >= int(made.revision),
    )
    assert names(found) == ["a", "b"]
    assert not found.metadata.get("continue")


@case
async def label_selectors(site: Site) -> None:
    await site.lease("a", labels={"tier": "x", "n": "1"})
    await site.lease("b", labels={"tier": "y"})
    await site.lease("c")
    for selector, expected in (
        ("tier=x", ["a"]),
        ("tier==x", ["a"]),
        ("tier!=x", ["b", "c"]),
        ("tier", ["a", "b"]),
        ("!tier", ["c"]),
        ("tier in (x,y)", ["a", "b"]),
        ("tier notin (x)", ["b", "c"]),
        ("tier in (x,y),n=1", ["a"]),
        ("n>0", ["a"]),
    ):
        assert names(await site.ask("GET", LEASES, labelSelector=selector)) == expected, selector
    assert (await site.ask("GET", LEASES, labelSelector="a b")).refusal == (400, "BadRequest")


@case
async def field_selectors(site: Site) -> None:
    await leases(site, "a", "b")
    assert names(await site.ask("GET", LEASES, fieldSelector="metadata.name=b")) == ["b"]
    assert names(await site.ask("GET", LEASES, fieldSelector="metadata.name!=b")) == ["a"]
    everywhere = await site.ask("GET", LEASES, namespace="", fieldSelector=f"metadata.namespace={site.namespace}")
    assert names(everywhere) == ["a", "b"]
    assert (await site.ask("GET", LEASES, fieldSelector="spec.holderIdentity=me")).refusal == (400, "BadRequest")
    assert (await site.ask("GET", PERSISTENT_VOLUMES, fieldSelector="spec.x=1")).refusal == (400, "BadRequest")


@case
async def pods_are_selected_by_node_and_phase(site: Site) -> None:
    await site.create(PODS, {"metadata": {"name": "a", "finalizers": ["a/b"]}, "spec": {**POD, "nodeName": "none"}})
    await site.create(PODS, {"metadata": {"name": "b"}, "spec": {**POD, "schedulerName": "nobody"}})
    assert names(await site.ask("GET", PODS, fieldSelector="spec.nodeName=none")) == ["a"]
    assert names(await site.ask("GET", PODS, fieldSelector="spec.nodeName=")) == ["b"]
    assert names(await site.ask("GET", PODS, fieldSelector="spec.nodeName!=none,status.phase=Pending")) == ["b"]
    await site.delete(PODS, "a", gracePeriodSeconds=0)
    await site.patch(PODS, "a", {"metadata": {"finalizers": None}})


@case
async def events_are_selected_by_their_object(site: Site) -> None:
    for name, about in (("one", "x"), ("two", "y")):
        involved = {"kind": "Pod", "namespace": site.namespace, "name": about, "uid": "u"}
        await site.create(EVENTS, {"metadata": {"name": name}, "involvedObject": involved, "reason": "R", "type": "T"})
    found = await site.ask("GET", EVENTS, fieldSelector="involvedObject.name=x,involvedObject.uid=u,reason=R")
    assert names(found) == ["one"]


@case
async def lists_of_all_namespaces(site: Site) -> None:
    await site.lease("one", labels={"of": site.namespace})
    answer = await site.ask("GET", LEASES, namespace="", labelSelector=f"of={site.namespace}")
    assert [item["metadata"]["namespace"] for item in answer.tree["items"]] == [site.namespace]


@case
async def a_custom_kind_is_gone_where_it_is_not_defined(site: Site) -> None:
    nowhere = Resource("nowhere.example", "v1", "nothings", "Nothing", namespaced=True)
    assert (await site.ask("GET", nowhere)).status == 404


@case
async def discovery_tells_what_is_served(site: Site) -> None:
    await site.define_things()
    found = (await site.send("GET", f"/apis/{THINGS.group}/v1")).tree
    assert found["kind"] == "APIResourceList"
    entries = {entry["name"]: entry for entry in found["resources"]}
    assert entries["things"]["kind"] == "Thing"
    assert entries["things"]["namespaced"] is True
    assert "watch" in entries["things"]["verbs"]
    assert "things/status" in entries
    found = (await site.send("GET", "/api/v1")).tree
    assert {"pods", "persistentvolumes", "pods/eviction"} <= {entry["name"] for entry in found["resources"]}
    claims = next(entry for entry in found["resources"] if entry["name"] == "persistentvolumeclaims")
    assert (claims["shortNames"], claims["singularName"]) == (["pvc"], "persistentvolumeclaim")
    assert (await site.send("GET", "/version")).tree["major"] == "1"
    assert (await site.send("GET", "/readyz")).tree == "ok"
    assert (await site.send("GET", "/apis/nowhere.example/v1")).status == 404


@case
async def the_manager_of_fields_is_the_one_named(site: Site) -> None:
    made = await site.create(CONFIG_MAPS, {"metadata": {"name": "one"}, "data": {"a": "1"}}, fieldManager="writer")
    entry = made.metadata["managedFields"][0]
    assert (entry["manager"], entry["operation"], entry["fieldsType"]) == ("writer", "Update", "FieldsV1")
    assert "f:a" in entry["fieldsV1"]["f:data"]
