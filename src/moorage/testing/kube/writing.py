"""The verbs that change objects, with the rules of the real server on what changes and what is refused.

Every function takes the store in one state and leaves it in another; there is no time in between, as the
real server's transactions have none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from moorage.kube.resource import NAMESPACES
from moorage.testing.kube.admission import check_growth, check_namespace, default_class
from moorage.testing.kube.call import Call
from moorage.testing.kube.defaults import fill_in, new_status
from moorage.testing.kube.kinds import Kind
from moorage.testing.kube.ownership import recorded
from moorage.testing.kube.refusal import (
    Refusal,
    already_exists,
    bad_request,
    conflict,
    invalid,
    invalid_field,
    not_found,
)
from moorage.testing.kube.store import Store, Stored
from moorage.testing.kube.tree import Tree, copied, decode, finalizers, is_deleted, lookup, metadata, prune_empty
from moorage.testing.kube.validation import check_change, check_new, check_times

__all__ = ["Writer"]

_SUFFIX_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH: Final = 5
_MAX_GENERATED: Final = 63 - _SUFFIX_LENGTH
_NAME_TRIES: Final = 8
_SERVER_OWNED: Final = (
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink",
)  # fmt: skip


@dataclass(slots=True)
class Writer:
    """Creates, updates and deletes in `store`; `now` and `chance` are where times and names come from."""

    store: Store
    now: Callable[[], datetime]
    chance: random.Random

    # --- create ------------------------------------------------------------------------------------

    def create(self, call: Call) -> Stored:
        """Carry out a POST. Raises Refusal."""
        return self.create_tree(call, decoded_object(call))

    def create_tree(self, call: Call, tree: Tree) -> Stored:
        """Create an object from what a request sent. Raises Refusal."""
        kind, resource = call.kind, call.kind.resource
        found = metadata(tree)
        self._place(call, tree)
        check_namespace(self.store, resource, call.namespace, str(found.get("name") or ""))
        if found.pop("resourceVersion", ""):
            raise Refusal(500, "", "resourceVersion should not be set on objects to be created")
        for key in _SERVER_OWNED:
            if key != "generation":
                found.pop(key, None)
        name = str(found.get("name") or "") or self._generated_name(call, str(found.get("generateName") or ""))
        found["name"] = name
        found["uid"] = self.uid()
        found["creationTimestamp"] = self.time()
        if kind.generation:
            found["generation"] = 1
        if kind.status:
            status = new_status(tree, self.time())
            tree.pop("status", None)
            if status is not None:
                tree["status"] = status
        fill_in(tree, default_class=default_class(self.store, resource))
        prune_empty(tree)
        check_new(kind, tree)
        if self.store.find(resource, (call.namespace, name)) is not None:
            raise already_exists(resource, name)
        self._own(call, None, tree)
        if call.dry_run:
            return Stored(tree, 0)
        return self.store.put(resource, (call.namespace, name), tree)

    def _place(self, call: Call, tree: Tree) -> None:
        """Put the object where the path says. Raises Refusal when it says something else itself."""
        found = metadata(tree)
        if found.get("namespace", call.namespace) not in {call.namespace, ""}:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if call.name and found.get("name", call.name) != call.name:
            name = found.get("name")
            raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({call.name})")
        if call.name:
            found["name"] = call.name
        if call.namespace:
            found["namespace"] = call.namespace

    def _generated_name(self, call: Call, base: str) -> str:
        if not base:
            return ""
        name = ""
        for _ in range(_NAME_TRIES):
            suffix = "".join(self.chance.choice(_SUFFIX_LETTERS) for _ in range(_SUFFIX_LENGTH))
            name = base[:_MAX_GENERATED] + suffix
            if self.store.find(call.kind.resource, (call.namespace, name)) is None:
                break
        return name

    # --- update ------------------------------------------------------------------------------------

    def replace(self, call: Call) -> tuple[Stored, bool]:
        """Carry out a PUT; whether it created the object. Raises Refusal."""
        tree = decoded_object(call)
        self._place(call, tree)
        before = self.store.find(call.kind.resource, (call.namespace, call.name))
        if before is None and call.kind.create_on_update and not call.subresource:
            metadata(tree).pop("resourceVersion", None)
            return self.create_tree(call, tree), True
        if before is None:
            raise not_found(call.kind.resource, call.name)
        if not metadata(tree).get("resourceVersion"):
            if not call.kind.blind_update:
                raise self._unversioned(call)
            metadata(tree)["resourceVersion"] = str(before.revision)
        uid = metadata(tree).get("uid")
        if uid and uid != before.tree["metadata"]["uid"]:
            raise conflict(call.kind.resource, call.name, _uid_text(call, str(uid), before))
        return self.update_tree(call, before, tree), False

    def _unversioned(self, call: Call) -> Refusal:
        refusal = invalid(
            call.kind.resource,
            call.name,
            [("metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update")],
        )
        resource = call.kind.resource
        refusal.status["message"] = refusal.status["message"].replace(resource.kind, resource.plural, 1)
        refusal.status["details"]["kind"] = resource.plural
        return refusal

    def update_tree(self, call: Call, before: Stored, tree: Tree) -> Stored:
        """Make the object like `tree`, except for what the request may not change. Raises Refusal."""
        kind, resource = call.kind, call.kind.resource
        check_times(tree)
        found, old = metadata(tree), before.tree["metadata"]
        self._place(call, tree)
        if found.get("resourceVersion", str(before.revision)) != str(before.revision):
            raise conflict(resource, call.name)
        if found.get("uid", old["uid"]) != old["uid"]:
            cause = invalid_field("metadata.uid", str(found["uid"]), "field is immutable")
            raise invalid(resource, call.name, [cause])
        after = self._allowed(call, before.tree, tree)
        check_change(kind, before.tree, after)
        check_growth(self.store, resource, before.tree, after)
        self._count_generation(call, before.tree, after)
        self._own(call, before.tree, after)
        if call.dry_run:
            return Stored(after, before.revision)
        if is_deleted(after) and not finalizers(after) and _may_go(after):
            self.store.remove(resource, (call.namespace, call.name))
            return Stored(after, before.revision)
        if _same_content(before.tree, after):
            return before
        return self.store.put(resource, (call.namespace, call.name), after)

    def _allowed(self, call: Call, before: Tree, tree: Tree) -> Tree:
        """What becomes of the object when each part is only changed by whom it belongs to."""
        found, old = metadata(tree), before["metadata"]
        if call.subresource == "status":
            after: Tree = {**copied(before), "status": tree.get("status")}
            if after["status"] is None:
                after.pop("status")
            if call.kind.status_metadata:
                after["metadata"] = found
        else:
            after = {key: value for key, value in tree.items() if key != "status" or not call.kind.status}
            if call.kind.status and "status" in before:
                after["status"] = copied(before["status"])
        after["apiVersion"], after["kind"] = before["apiVersion"], before["kind"]
        kept = metadata(after)
        for key in _SERVER_OWNED:
            if key in old:
                kept[key] = old[key]
            else:
                kept.pop(key, None)
        kept["resourceVersion"] = old["resourceVersion"]
        if call.kind.resource.kind == "PersistentVolume" and call.subresource == "status":
            self._note_phase(before, after)
        prune_empty(after)
        return after

    def _note_phase(self, before: Tree, after: Tree) -> None:
        """Give a new phase of a volume its time, unless the sender did."""
        old, new = (lookup(tree, "status.lastPhaseTransitionTime") for tree in (before, after))
        changed = lookup(before, "status.phase") != lookup(after, "status.phase")
        if changed and isinstance(after.get("status"), dict) and new in {None, old}:
            after["status"]["lastPhaseTransitionTime"] = self.time()

    def _count_generation(self, call: Call, before: Tree, after: Tree) -> None:
        if call.kind.generation and _content(before, call.kind.custom) != _content(after, call.kind.custom):
            after["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1

    # --- delete ------------------------------------------------------------------------------------

    def delete(self, call: Call) -> tuple[Stored, bool]:
        """Carry out a DELETE; whether the object is gone. Raises Refusal."""
        resource, key = call.kind.resource, (call.namespace, call.name)
        before = self.store.find(resource, key)
        options = decoded_options(call)
        if before is None:
            raise not_found(resource, call.name)
        self._check_preconditions(call, before, options)
        if call.dry_run:
            return before, True
        grace_s = self._grace_s(call, before.tree, options)
        added = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(_propagation(call, options))
        held = [*finalizers(before.tree), *([added] if added and added not in finalizers(before.tree) else [])]
        if not held and not grace_s and _is_emptied(before.tree):
            return self.store.remove(resource, key), True
        if is_deleted(before.tree) and held == finalizers(before.tree) and not self._is_sooner(before.tree, grace_s):
            return before, False
        after = copied(before.tree)
        found = metadata(after)
        if held:
            found["finalizers"] = held
        if not is_deleted(before.tree) and found.get("generation"):
            found["generation"] += 1
        if resource == NAMESPACES:
            after["status"] = {**after.get("status", {}), "phase": "Terminating"}
        found["deletionTimestamp"] = self.time(grace_s)
        found["deletionGracePeriodSeconds"] = grace_s
        return self.store.put(resource, key, after), False

    def _check_preconditions(self, call: Call, before: Stored, options: Tree) -> None:
        wanted = options.get("preconditions") or {}
        resource = call.kind.resource
        uid, revision = wanted.get("uid"), wanted.get("resourceVersion")
        actual = before.tree["metadata"]["uid"]
        why = ""
        if uid and uid != actual:
            why = (
                f"the UID in the precondition ({uid}) does not match the UID in record ({actual}). "
                "The object might have been deleted and then recreated"
            )
        elif revision and revision != str(before.revision):
            why = (
                f"the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record "
                f"({before.revision}). The object might have been modified"
            )
        if why:
            raise conflict(resource, call.name, why)

    def _grace_s(self, call: Call, tree: Tree, options: Tree) -> int:
        if not call.kind.graceful:
            return 0
        asked = options.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
        ended = lookup(tree, "status.phase") in {"Succeeded", "Failed"}
        if not lookup(tree, "spec.nodeName") or ended:
            return 0
        return int(asked if asked is not None else lookup(tree, "spec.terminationGracePeriodSeconds") or 0)

    def _is_sooner(self, tree: Tree, grace_s: int) -> bool:
        return grace_s < int(lookup(tree, "metadata.deletionGracePeriodSeconds") or 0)

    # --- what all share ----------------------------------------------------------------------------

    def time(self, later_s: float = 0.0) -> str:
        """The time as metadata has it, in whole seconds."""
        return (self.now() + timedelta(seconds=later_s)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def uid(self) -> str:
        """A new uid."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def _own(self, call: Call, before: Tree | None, after: Tree) -> None:
        if call.content_type.startswith("application/apply-patch"):
            return
        recorded(
            before,
            after,
            manager=call.manager,
            api_version=call.resource.api_version,
            subresource=call.subresource,
            time=self.time(),
        )


def decoded_object(call: Call) -> Tree:
    """The object that a request sent, with its kind. Raises Refusal."""
    wanted = call.resource
    what = f"the object provided is unrecognized (must be of type {wanted.kind})"
    try:
        tree = decode(call.body)
    except msgspec.DecodeError as error:
        raise bad_request(f"{what}: couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(tree, dict):
        raise bad_request(f"{what}: it is no object")
    if call.kind.custom and not tree.get("kind"):
        raise bad_request(f"{what}: Object 'Kind' is missing in '{call.body.decode(errors='replace')}'")
    kind, version = tree.get("kind") or wanted.kind, tree.get("apiVersion") or wanted.api_version
    if (kind, version) != (wanted.kind, wanted.api_version):
        short = str(version).rpartition("/")[2]
        raise bad_request(f'{kind} in version "{short}" cannot be handled as a {wanted.kind}: unknown conversion')
    tree = headed(call.kind, tree)
    check_times(tree)
    return tree


def headed(kind: Kind, tree: Mapping[str, Any]) -> Tree:
    """The object with the type under which it is stored, in front."""
    stored = kind.resource
    head = {"kind": stored.kind, "apiVersion": stored.api_version}
    if kind.custom:
        head = {"apiVersion": stored.api_version, "kind": stored.kind}
    return {**head, **{key: value for key, value in tree.items() if key not in head}}


def decoded_options(call: Call) -> Tree:
    """DeleteOptions. Raises Refusal."""
    if not call.body:
        return {}
    try:
        found = decode(call.body)
    except msgspec.DecodeError as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
    return found if isinstance(found, dict) else {}


def _propagation(call: Call, options: Tree) -> str:
    return str(options.get("propagationPolicy") or call.query.get("propagationPolicy", ""))


def _uid_text(call: Call, uid: str, before: Stored) -> str:
    place = "/".join(part for part in (call.kind.resource.plural, call.namespace, call.name) if part)
    actual = before.tree["metadata"]["uid"]
    return (
        f"StorageError: invalid object, Code: 4, Key: /registry/{place}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}"
    )


def _content(tree: Tree, everything: bool) -> Any:
    """What counts for the generation: the spec, for custom kinds everything but metadata and status."""
    if not everything:
        return tree.get("spec")
    return {key: value for key, value in tree.items() if key not in {"metadata", "status"}}


def _is_emptied(tree: Tree) -> bool:
    """Whether this is no namespace that may still have something in it."""
    return tree["kind"] != NAMESPACES.kind or not lookup(tree, "spec.finalizers")


def _may_go(tree: Tree) -> bool:
    """Whether nothing but finalizers can hold a deleted object: no grace of a pod, no content of a namespace."""
    return _is_emptied(tree) and not lookup(tree, "metadata.deletionGracePeriodSeconds")


def _same_content(before: Tree, after: Tree) -> bool:
    """Whether nothing changed that is stored; the times of managedFields do not count."""
    if {key: before[key] for key in before if key != "metadata"} != {
        key: after[key] for key in after if key != "metadata"
    }:
        return False
    old, new = dict(before["metadata"]), dict(after["metadata"])
    owners = [[{**entry, "time": ""} for entry in one.pop("managedFields", ())] for one in (old, new)]
    return old == new and owners[0] == owners[1]
