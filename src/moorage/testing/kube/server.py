"""The fake API server: everything but time and sockets.

It answers one request at a time, in memory and at once. `moorage.testing.kube.transport` puts it behind the
client's Transport, `moorage.testing.kube.http` behind a port. Tests reach around the API through the methods here: they
put objects, count requests, plan faults, break watches.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from moorage.base.clock import Clock, SystemClock
from moorage.kube.resource import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, Resource
from moorage.kube.transport import Request, Response
from moorage.testing.kube import subresources
from moorage.testing.kube.call import Call, parse_call
from moorage.testing.kube.discovery import discovery, page_not_found
from moorage.testing.kube.faults import FaultPlan
from moorage.testing.kube.kinds import BUILT_IN, CUSTOM, Kind, defined_kind
from moorage.testing.kube.patches import patch
from moorage.testing.kube.reactions import Behaviour, Reactions
from moorage.testing.kube.reading import condition_of, get, listed, rendered
from moorage.testing.kube.refusal import Refusal, forbidden, status_response
from moorage.testing.kube.requestlog import RequestLog
from moorage.testing.kube.reviews import Reviewer
from moorage.testing.kube.roles import Rule
from moorage.testing.kube.store import HISTORY_LIMIT, Change, Store, Stored
from moorage.testing.kube.tree import Tree, copied, encode, metadata
from moorage.testing.kube.watching import Watch
from moorage.testing.kube.writing import Writer, decoded_object, headed

__all__ = ["FakeApiServer"]

DEFAULT_MINOR: Final = 36
CONTROLLER_MANAGER: Final = "kube-controller-manager"


class FakeApiServer:
    """A Kubernetes API server in memory. All of it belongs to one event loop, or to a test without one.

    Tests may set: `watch_lag_s`, by which watches are behind; `bookmark_interval_s`; `streaming_lists` False for
    a server whose etcd is too old for `sendInitialEvents`, which then ends such watches with an error.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        custom: Iterable[Kind] | None = None,
        namespaces: Sequence[str] = ("default", "kube-system"),
        behaviours: Iterable[Behaviour] = (),
        minor: int = DEFAULT_MINOR,
        seed: int = 0,
        history_limit: int = HISTORY_LIMIT,
    ) -> None:
        """`clock` gives the times in metadata; `custom` are kinds with a CustomResourceDefinition in
        place, by default those of snapshots, populators and the other storage projects.

        `behaviours` are what other controllers of a cluster do, see `moorage.testing.kube.cluster`. `seed` decides
        uids and generated names. Watches can go on from at least the last `history_limit` changes of a resource.
        """
        self.store = Store(history_limit=history_limit)
        self.log = RequestLog()
        self.faults = FaultPlan()
        self.reviewer = Reviewer()
        self.clock: Clock = clock or SystemClock()
        self.reachable = True
        self.watch_lag_s = 0.0
        self.bookmark_interval_s = 60.0
        self.streaming_lists = True
        self.watches: list[Watch] = []
        self._minor = minor
        kinds = (*BUILT_IN, *(CUSTOM if custom is None else custom))
        self._kinds = {(kind.resource.group, kind.resource.plural): kind for kind in kinds}
        self._writer = Writer(self.store, self.clock.wall_time, random.Random(seed))
        self.store.listen(self._notice_definition)
        for name in namespaces:
            self.put(NAMESPACES, {"metadata": {"name": name}, "status": {"phase": "Active"}})
        self.reactions = Reactions(self, behaviours)

    # --- requests ----------------------------------------------------------------------------------

    def parse(self, request: Request, *, user: str = "", agent: str = "moorage") -> Call:
        """What a request asks for. Raises Refusal when nothing is served at its path."""
        return parse_call(
            self._kinds,
            request.method,
            request.path,
            query=dict(request.query),
            body=request.body,
            content_type=request.content_type,
            user=user,
            agent=agent,
        )

    def about_itself(self, request: Request) -> Response | None:
        """The answer to a question about the server, None when the request is about objects."""
        if request.method != "GET":
            return None
        found = discovery(request.path, self._kinds.values(), minor=self._minor)
        if found is None and not self._serves(request.path):
            return page_not_found()
        return found

    def respond(self, call: Call, *, rules: Sequence[Rule] | None = None) -> Response:
        """Carry a call out and answer it; `rules` None allows everything."""
        try:
            self.authorize(call, rules)
            return self._respond(call)
        except Refusal as refusal:
            return refusal.response()

    def authorize(self, call: Call, rules: Sequence[Rule] | None) -> None:
        """Raises Refusal when no rule allows the call."""
        if rules is not None and not any(rule.allows(call) for rule in rules):
            raise forbidden(
                call.kind.resource,
                user=call.user,
                verb=call.verb,
                subresource=call.subresource,
                namespace=call.namespace,
                name=call.name,
            )

    def open_watch(self, call: Call, *, rules: Sequence[Rule] | None = None) -> Watch:
        """Begin a watch; it is to be ended. Raises Refusal."""
        self.authorize(call, rules)
        watch = Watch(self.store, call, streaming_lists=self.streaming_lists)
        self.watches.append(watch)
        return watch

    def close_watch(self, watch: Watch) -> None:
        """The client has gone."""
        watch.end()
        with suppress(ValueError):
            self.watches.remove(watch)

    # --- for tests: objects ------------------------------------------------------------------------

    def put(self, resource: Resource, tree: Mapping[str, Any]) -> Tree:
        """Store an object as it is given, status and all, by no rule; its namespace is made when it is missing.

        What the server owns of metadata is added, or kept from the object that it replaces.
        """
        new = headed(self.kind_of(resource), copied(tree))
        found = metadata(new)
        if resource.namespaced:
            found.setdefault("namespace", "default")
            if self.store.find(NAMESPACES, ("", found["namespace"])) is None:
                self.put(NAMESPACES, {"metadata": {"name": found["namespace"]}, "status": {"phase": "Active"}})
        key = (found.get("namespace", "") if resource.namespaced else "", found["name"])
        before = self.store.find(resource, key)
        old = before.tree["metadata"] if before else {}
        found.setdefault("uid", old.get("uid") or self._writer.uid())
        found.setdefault("creationTimestamp", old.get("creationTimestamp") or self._writer.time())
        if managed := old.get("managedFields"):
            found.setdefault("managedFields", managed)
        if self.kind_of(resource).generation:
            found.setdefault("generation", old.get("generation", 1))
        return copied_tree(self.store.put(resource, key, new))

    def find(self, resource: Resource, name: str, namespace: str = "") -> Tree | None:
        """An object as it is stored, None when there is none; a copy."""
        stored = self.store.find(resource, (_namespace(resource, namespace), name))
        return copied_tree(stored) if stored else None

    def objects(self, resource: Resource, namespace: str = "") -> list[Tree]:
        """All objects of a resource, or those of one namespace; copies."""
        return [copied_tree(stored) for _, stored in self.store.objects(resource, namespace)]

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Remove an object at once, whatever its finalizers. Raises KeyError."""
        self.store.remove(resource, (_namespace(resource, namespace), name))

    def change(self, resource: Resource, tree: Tree, *, subresource: str = "", user: str = CONTROLLER_MANAGER) -> Tree:
        """Update an object by the rules, as another client of the cluster would. Raises Refusal."""
        call, before = self._as_other(resource, tree, verb="update", subresource=subresource, user=user)
        if before is None:
            raise KeyError(tree["metadata"]["name"])
        return copied_tree(self._writer.update_tree(call, before, headed(call.kind, copied(tree))))

    def create(self, resource: Resource, tree: Tree, *, user: str = CONTROLLER_MANAGER) -> Tree:
        """Create an object by the rules, as another client of the cluster would. Raises Refusal."""
        call, _ = self._as_other(resource, tree, verb="create", subresource="", user=user)
        return copied_tree(self._writer.create_tree(call, headed(call.kind, copied(tree))))

    def delete(self, resource: Resource, name: str, namespace: str = "", *, user: str = "somebody") -> None:
        """Ask for the deletion of an object by the rules, as `kubectl delete` does. Raises Refusal."""
        tree = {"metadata": {"name": name, "namespace": _namespace(resource, namespace)}}
        call, _ = self._as_other(resource, tree, verb="delete", subresource="", user=user)
        self._writer.delete(call)

    def kind_of(self, resource: Resource) -> Kind:
        """What the server knows of a resource. Raises KeyError when it does not serve it."""
        return self._kinds[(resource.group, resource.plural)]

    @property
    def kinds(self) -> list[Kind]:
        """Everything that is served."""
        return list(self._kinds.values())

    def serve(self, kind: Kind) -> None:
        """Serve one more kind, or a kind in another way."""
        self._kinds[(kind.resource.group, kind.resource.plural)] = kind

    def unserve(self, resource: Resource) -> None:
        """Serve a resource no more, as when its CustomResourceDefinition is deleted; its watches end."""
        del self._kinds[(resource.group, resource.plural)]
        self.break_watches(resource, cleanly=True)

    # --- for tests: what goes wrong ----------------------------------------------------------------

    def compact(self, resource: Resource | None = None) -> None:
        """Forget the past: pages and watches that go on from an earlier moment are answered with 410."""
        self.store.compact(resource)

    def break_watches(self, resource: Resource | None = None, *, user: str = "", cleanly: bool = False) -> int:
        """Cut the connections of open watches, or with `cleanly` end them; how many there were."""
        chosen = self._open_watches(resource, user)
        for watch in chosen:
            watch.end(broken=not cleanly)
        return len(chosen)

    def expire_watches(self, resource: Resource | None = None, *, user: str = "") -> int:
        """End open watches with 410 Expired; how many there were."""
        chosen = self._open_watches(resource, user)
        for watch in chosen:
            watch.expire()
        return len(chosen)

    def bookmark(self) -> None:
        """Send a bookmark to all open watches that want them, now."""
        for watch in self._open_watches(None, ""):
            watch.bookmark()

    def go_down(self) -> None:
        """Refuse connections and break those that are open, until `come_back`."""
        self.reachable = False
        self.break_watches()

    def come_back(self) -> None:
        """End what `go_down` began."""
        self.reachable = True

    # -----------------------------------------------------------------------------------------------

    def _respond(self, call: Call) -> Response:
        if call.subresource not in {"", "status"}:
            return subresources.respond(self.store, self._writer, self.reviewer, call)
        if not call.kind.stored:
            return status_response(201, encode(self.reviewer.review(decoded_object(call))))
        match call.verb:
            case "get":
                return status_response(200, rendered(call, get(self.store, call)))
            case "list":
                return status_response(200, listed(self.store, call))
            case "create":
                return status_response(201, rendered(call, self._writer.create(call)))
            case "update":
                stored, created = self._writer.replace(call)
            case "patch":
                stored, created = patch(self._writer, call)
            case "delete":
                return self._deleted(call, *self._writer.delete(call))
            case _:
                return self._delete_all(call)
        return status_response(201 if created else 200, rendered(call, stored))

    def _deleted(self, call: Call, stored: Stored, gone: bool) -> Response:
        if not gone or call.kind.returns_deleted:
            return status_response(200, rendered(call, stored))
        group = {"group": call.kind.resource.group} if call.kind.resource.group else {}
        about = {"name": call.name, **group, "kind": call.kind.resource.plural, "uid": stored.tree["metadata"]["uid"]}
        head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return status_response(200, {**head, "details": about})

    def _delete_all(self, call: Call) -> Response:
        condition = condition_of(call)
        body = listed(self.store, call)
        for key, stored in list(self.store.objects(call.kind.resource, call.namespace)):
            if condition is None or condition(stored.tree):
                self._writer.delete(_named(call, key))
        return status_response(200, body)

    def _as_other(
        self, resource: Resource, tree: Mapping[str, Any], *, verb: str, subresource: str, user: str
    ) -> tuple[Call, Stored | None]:
        found = tree["metadata"]
        namespace = _namespace(resource, found.get("namespace", ""))
        call = Call(
            verb=verb,
            kind=self.kind_of(resource),
            version=resource.version,
            namespace=namespace,
            name=found.get("name", ""),
            subresource=subresource,
            user=user,
            agent=user,
        )
        return call, self.store.find(resource, (namespace, call.name))

    def _open_watches(self, resource: Resource | None, user: str) -> list[Watch]:
        return [
            watch
            for watch in self.watches
            if not watch.ended
            and (resource is None or watch.call.kind.resource.group_resource == resource.group_resource)
            and user in {"", watch.call.user}
        ]

    def _serves(self, path: str) -> bool:
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            return len(parts) > 1 and parts[1] == "v1"
        groups = {(kind.resource.group, version) for kind in self._kinds.values() for version in kind.served_versions}
        return parts[0] == "apis" and len(parts) > 2 and (parts[1], parts[2]) in groups

    def _notice_definition(self, resource: Resource, change: Change) -> None:
        """Serve what a CustomResourceDefinition defines, from its creation to its deletion."""
        if resource != CUSTOM_RESOURCE_DEFINITIONS:
            return
        kind = defined_kind(change.after.tree)
        if change.type == "DELETED":
            self.unserve(kind.resource)
            return
        self.serve(kind)
        if change.type == "ADDED":
            conditions = [{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}]
            stored_versions = [kind.resource.version]
            status = {"conditions": conditions, "storedVersions": stored_versions}
            self.store.put(resource, change.key, {**copied_tree(change.after), "status": status})


def copied_tree(stored: Stored) -> Tree:
    """A tree that a test may change."""
    tree: Tree = copied(stored.tree)
    return tree


def _namespace(resource: Resource, namespace: str) -> str:
    return (namespace or "default") if resource.namespaced else ""


def _named(call: Call, key: tuple[str, str]) -> Call:
    return Call(
        verb="delete",
        kind=call.kind,
        version=call.version,
        namespace=key[0],
        name=key[1],
        query=call.query,
        body=call.body,
        user=call.user,
        agent=call.agent,
    )
