"""Each verb sends the request that the API server documents, and gives back what was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import Struct
from tests.support.kube_client import ScriptedTransport, answer, in_no_time, refusal

from moorage.kube.api import Api
from moorage.kube.errors import Conflict, Gone, Invalid, NotFound, Unreachable
from moorage.kube.limiter import Limiter
from moorage.kube.patch import Operation, with_finalizer
from moorage.kube.resource import (
    LEASES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SERVICE_ACCOUNTS,
    VOLUME_SNAPSHOTS,
)
from moorage.kube.transport import Request
from moorage.kube.watch import Bookmark, Change


class Metadata(Struct, rename="camel"):
    name: str
    resource_version: str = ""


class Claim(Struct):
    metadata: Metadata


CLAIM = {"metadata": {"name": "db", "resourceVersion": "5"}}
PATH = "/api/v1/namespaces/shop/persistentvolumeclaims/db"
Call = Callable[[Api], Awaitable[Any]]


def api(transport: ScriptedTransport) -> Api:
    return Api(transport, limiter=Limiter(-1))


def sent_by(call: Call, reply: object = None) -> tuple[Request, Any]:
    transport = ScriptedTransport(answer(200, reply if reply is not None else CLAIM))

    async def work() -> Any:
        return await call(api(transport))

    result, _ = in_no_time(work())
    [request] = transport.requests
    return request, result


DB: dict[str, Any] = {"name": "db", "namespace": "shop"}
OPTIONS = {"apiVersion": "v1", "kind": "DeleteOptions"}
MERGE = "application/merge-patch+json"


@pytest.mark.parametrize(
    ("call", "method", "path", "content_type", "body"),
    [
        pytest.param(
            lambda api: api.get(PERSISTENT_VOLUME_CLAIMS, Claim, **DB), "GET", PATH, "application/json", None, id="get"
        ),
        pytest.param(
            lambda api: api.create(PERSISTENT_VOLUME_CLAIMS, Claim, {"metadata": {"name": "db"}}, namespace="shop"),
            "POST",
            "/api/v1/namespaces/shop/persistentvolumeclaims",
            "application/json",
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "db"}},
            id="create",
        ),
        pytest.param(
            lambda api: api.create(
                SERVICE_ACCOUNTS, Claim, b'{"spec":{}}', namespace="shop", name="sa", subresource="token"
            ),
            "POST",
            "/api/v1/namespaces/shop/serviceaccounts/sa/token",
            "application/json",
            {"spec": {}},
            id="create-token",
        ),
        pytest.param(
            lambda api: api.patch_merge(PERSISTENT_VOLUME_CLAIMS, Claim, {"a": None}, **DB, subresource="status"),
            "PATCH",
            f"{PATH}/status",
            MERGE,
            {"a": None},
            id="merge-status",
        ),
        pytest.param(
            lambda api: api.patch_merge(
                PERSISTENT_VOLUME_CLAIMS,
                Claim,
                {"metadata": {"labels": {"a": "b"}}},
                **DB,
                uid="u",
                resource_version="5",
            ),
            "PATCH",
            PATH,
            MERGE,
            {"metadata": {"labels": {"a": "b"}, "uid": "u", "resourceVersion": "5"}},
            id="merge-with-conditions",
        ),
        pytest.param(
            lambda api: api.patch_json(
                PERSISTENT_VOLUME_CLAIMS, Claim, [Operation.test("/a", 1), Operation.remove("/a")], **DB
            ),
            "PATCH",
            PATH,
            "application/json-patch+json",
            [{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/a"}],
            id="json-patch",
        ),
        pytest.param(
            lambda api: api.patch_strategic(PERSISTENT_VOLUME_CLAIMS, Claim, {"a": 1}, **DB),
            "PATCH",
            PATH,
            "application/strategic-merge-patch+json",
            {"a": 1},
            id="strategic",
        ),
        pytest.param(
            lambda api: api.patch_apply(
                LEASES, Claim, {"metadata": {"name": "l"}}, name="l", namespace="x", field_manager="me", force=True
            ),
            "PATCH",
            "/apis/coordination.k8s.io/v1/namespaces/x/leases/l",
            "application/apply-patch+yaml",
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}},
            id="apply",
        ),
        pytest.param(
            lambda api: api.replace_raw(PERSISTENT_VOLUME_CLAIMS, Claim, b'{"spec":{"x":1.0}}', **DB),
            "PUT",
            PATH,
            "application/json",
            {"spec": {"x": 1.0}},
            id="replace-raw",
        ),
    ],
)
def test_verbs(call: Call, method: str, path: str, content_type: str, body: object) -> None:
    request, result = sent_by(call)
    assert (request.method, request.path, request.content_type) == (method, path, content_type)
    assert (json.loads(request.body) if request.body else None) == body
    assert result == Claim(Metadata("db", "5"))


def test_apply_names_its_manager() -> None:
    request, _ = sent_by(
        lambda api: api.patch_apply(PERSISTENT_VOLUMES, Claim, {}, name="pv", field_manager="moorage", force=True)
    )
    assert request.query == (("fieldManager", "moorage"), ("force", "true"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({}, OPTIONS, id="plain"),
        pytest.param(
            {"uid": "u", "resource_version": "5"},
            {**OPTIONS, "preconditions": {"uid": "u", "resourceVersion": "5"}},
            id="preconditions",
        ),
        pytest.param(
            {"propagation": "Foreground", "grace_period_s": 0},
            {**OPTIONS, "propagationPolicy": "Foreground", "gracePeriodSeconds": 0},
            id="options",
        ),
    ],
)
def test_delete(arguments: dict[str, Any], expected: object) -> None:
    request, result = sent_by(lambda api: api.delete(PERSISTENT_VOLUME_CLAIMS, **DB, **arguments), {"kind": "Status"})
    assert (request.method, request.path) == ("DELETE", PATH)
    assert json.loads(request.body) == expected
    assert result is None


def test_a_merge_patch_of_bytes_takes_no_conditions() -> None:
    with pytest.raises(TypeError, match="must be a mapping"):
        sent_by(lambda api: api.patch_merge(PERSISTENT_VOLUME_CLAIMS, Claim, b"{}", **DB, uid="u"))


@pytest.mark.parametrize(
    ("uid", "field", "expected"),
    [
        pytest.param("old", "metadata.uid", Conflict, id="another-object"),
        pytest.param("old", "spec.size", Invalid, id="another-mistake"),
        pytest.param("", "metadata.uid", Invalid, id="no-condition"),
    ],
)
def test_a_merge_patch_for_an_object_that_was_replaced(uid: str, field: str, expected: type[Exception]) -> None:
    """The API server answers 422 to a uid that does not match, as if it were to be changed."""
    details = {"causes": [{"reason": "FieldValueInvalid", "field": field}]}
    refused = answer(422, {"reason": "Invalid", "message": "field is immutable", "details": details})

    async def work() -> None:
        await api(ScriptedTransport(refused)).patch_merge(PERSISTENT_VOLUME_CLAIMS, Claim, {"a": 1}, **DB, uid=uid)

    with pytest.raises(expected) as caught:
        in_no_time(work())
    assert type(caught.value) is expected


def test_bytes_are_given_back_as_they_came() -> None:
    _, result = sent_by(lambda api: api.get(PERSISTENT_VOLUME_CLAIMS, bytes, **DB), b'{"a":  1.0}')
    assert result == b'{"a":  1.0}'


def page(names: str, token: str = "", version: str = "9") -> Any:
    items = [{"metadata": {"name": name}} for name in names]
    return answer(200, {"metadata": {"resourceVersion": version, "continue": token}, "items": items})


def names_and_requests(transport: ScriptedTransport, **arguments: Any) -> tuple[str, str]:
    async def work() -> Any:
        return await api(transport).list(PERSISTENT_VOLUME_CLAIMS, Claim, **arguments)

    found, _ = in_no_time(work())
    return "".join(item.metadata.name for item in found.items), found.resource_version


def test_a_list_follows_its_pages_and_repeats_only_its_selectors() -> None:
    transport = ScriptedTransport(page("ab", "t1"), page("cd", "t2"), page("e"))
    found = names_and_requests(
        transport, page_size=2, resource_version="4", label_selector="a=b", field_selector="metadata.name!=x"
    )
    assert found == ("abcde", "9")
    select = (("labelSelector", "a=b"), ("fieldSelector", "metadata.name!=x"), ("limit", "2"))
    assert [request.query for request in transport.requests] == [
        (*select, ("resourceVersion", "4")),
        (*select, ("continue", "t1")),
        (*select, ("continue", "t2")),
    ]
    assert {request.path for request in transport.requests} == {"/api/v1/persistentvolumeclaims"}


def test_pages_that_went_stale_are_replaced_by_one_whole_list() -> None:
    transport = ScriptedTransport(page("ab", "t1"), refusal(410, "Expired"), page("abc", version="12"))
    assert names_and_requests(transport) == ("abc", "12")
    assert transport.requests[-1].query == ()


def test_a_list_that_is_gone_from_the_start_is_an_error() -> None:
    with pytest.raises(Gone):
        names_and_requests(ScriptedTransport(refusal(410, "Expired")), resource_version="1")


def test_pages_show_a_stale_page_to_their_caller() -> None:
    transport = ScriptedTransport(page("ab", "t1"), refusal(410, "Expired"))

    async def work() -> list[str]:
        pages = api(transport).pages(PERSISTENT_VOLUME_CLAIMS, Claim, namespace="shop")
        first = await anext(pages)
        with pytest.raises(Gone):
            await anext(pages)
        return [item.metadata.name for item in first.items]

    assert in_no_time(work())[0] == ["a", "b"]
    assert transport.requests[0].path == "/api/v1/namespaces/shop/persistentvolumeclaims"


def test_a_watch_asks_for_bookmarks_and_an_end() -> None:
    chunks = [
        b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"6"}}}\n{"type":"BOOK',
        b'MARK","object":{"metadata":{"resourceVersion":"8"}}}\n',
    ]
    transport = ScriptedTransport(chunks=chunks)

    async def work() -> list[object]:
        watch = api(transport).watch(
            VOLUME_SNAPSHOTS, Claim, namespace="shop", resource_version="5", label_selector="a", timeout_s=330
        )
        async with watch as events:
            return [event async for event in events]

    found, _ = in_no_time(work())
    assert found == [Change("ADDED", Claim(Metadata("a", "6"))), Bookmark("8")]
    [request] = transport.requests
    assert request.path == "/apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots"
    assert dict(request.query) == {
        "watch": "true",
        "resourceVersion": "5",
        "labelSelector": "a",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "330",
    }
    assert request.timeout_s > 330
    assert request.verb == "watch"


def test_a_watch_may_begin_with_all_objects() -> None:
    transport = ScriptedTransport()

    async def work() -> None:
        async with api(transport).watch(PERSISTENT_VOLUMES, Claim, send_initial_events=True) as events:
            assert [event async for event in events] == []

    in_no_time(work())
    query = dict(transport.requests[0].query)
    assert query["sendInitialEvents"] == "true"
    assert query["resourceVersionMatch"] == "NotOlderThan"


def test_a_watch_that_is_refused_raises_on_entering() -> None:
    async def work() -> None:
        with pytest.raises(Unreachable):
            async with api(ScriptedTransport(Unreachable("x"))).watch(PERSISTENT_VOLUMES, Claim):
                raise AssertionError("it was opened")

    in_no_time(work())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(answer(200, {"resources": [{"name": "volumesnapshots"}]}), True, id="served"),
        pytest.param(answer(200, {"resources": [{"name": "volumesnapshots/status"}]}), False, id="other-resources"),
        pytest.param(answer(200, {"resources": None}), False, id="none"),
        pytest.param(refusal(404, "NotFound"), False, id="no-such-group"),
    ],
)
def test_served(reply: Any, expected: bool) -> None:
    transport = ScriptedTransport(reply)

    async def work() -> bool:
        return await api(transport).served(VOLUME_SNAPSHOTS)

    assert in_no_time(work())[0] is expected
    assert transport.requests[0].path == "/apis/snapshot.storage.k8s.io/v1"


@pytest.mark.parametrize(("minor", "expected"), [("36", (1, 36)), ("34+", (1, 34))])
def test_server_version(minor: str, expected: tuple[int, int]) -> None:
    request, result = sent_by(lambda api: api.server_version(), {"major": "1", "minor": minor})
    assert (request.path, result) == ("/version", expected)


def test_the_timeout_of_a_call_goes_before_that_of_the_client() -> None:
    transport = ScriptedTransport(answer(200, CLAIM), answer(200, CLAIM), refusal(404, "NotFound"))
    client = Api(transport, limiter=Limiter(-1), timeout_s=20)

    async def work() -> None:
        await client.get(PERSISTENT_VOLUME_CLAIMS, Claim, **DB)
        await client.get(PERSISTENT_VOLUME_CLAIMS, Claim, **DB, timeout_s=3)
        with pytest.raises(NotFound):
            await client.get(PERSISTENT_VOLUME_CLAIMS, Claim, **DB)
        await client.close()

    in_no_time(work())
    assert [request.timeout_s for request in transport.requests] == pytest.approx([20, 3, 20])
    assert transport.closed


def test_many_tasks_may_share_a_client() -> None:
    transport = ScriptedTransport(*[answer(200, CLAIM)] * 50, takes_s=1)

    async def work() -> None:
        client = api(transport)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(client.get(PERSISTENT_VOLUME_CLAIMS, Claim, **DB))

    _, took_s = in_no_time(work())
    assert took_s == pytest.approx(1)


class TestUpdate:
    """GET, edit, PUT: for roles that may update but not patch."""

    RAW = b'{"metadata":{"name":"db","uid":"u","resourceVersion":"5"},"spec":{"unknown":1.0}}'

    def updated(self, *outcomes: Any, uid: str = "u") -> tuple[Claim | None, ScriptedTransport]:
        transport = ScriptedTransport(*outcomes)

        async def work() -> Claim | None:
            edit = with_finalizer("x/y")
            return await api(transport).update(PERSISTENT_VOLUME_CLAIMS, Claim, edit, **DB, uid=uid)

        return in_no_time(work())[0], transport

    def test_everything_that_was_read_is_sent_back(self) -> None:
        result, transport = self.updated(answer(200, self.RAW), answer(200, CLAIM))
        assert result == Claim(Metadata("db", "5"))
        get, put = transport.requests
        assert (get.method, put.method, put.path) == ("GET", "PUT", PATH)
        expected = json.loads(self.RAW)
        expected["metadata"]["finalizers"] = ["x/y"]
        assert json.loads(put.body) == expected

    def test_nothing_to_change_sends_nothing(self) -> None:
        raw = b'{"metadata":{"uid":"u","finalizers":["x/y"]}}'
        result, transport = self.updated(answer(200, raw))
        assert result is None
        assert len(transport.requests) == 1

    def test_a_conflict_reads_again(self) -> None:
        newer = self.RAW.replace(b'"5"', b'"6"')
        conflict = refusal(409, "Conflict")
        _, transport = self.updated(answer(200, self.RAW), conflict, answer(200, newer), answer(200, CLAIM))
        assert json.loads(transport.requests[-1].body)["metadata"]["resourceVersion"] == "6"

    def test_endless_conflicts_end(self) -> None:
        with pytest.raises(Conflict):
            self.updated(*[answer(200, self.RAW), refusal(409, "Conflict")] * 9)

    def test_another_object_of_the_same_name_is_left_alone(self) -> None:
        with pytest.raises(Conflict, match="another object now"):
            self.updated(answer(200, self.RAW), uid="other")
